"""What the last lines of a run say about its speed."""

from __future__ import annotations

import pytest

from augment.run.finalize import Summary

COUNTS = {"planned": 8, "accepted": 4, "rejected": 0, "failed": 4, "files": [], "mean_reconstruction_psnr": 30.0}


@pytest.mark.parametrize(
    ("made", "failed_now", "failed", "speed"),
    [
        (4, 0, 0, "2.00 edits/s"),
        (4, 4, 4, "2.00 edits/s"),
        (0, 4, 4, "none was made, 4 failed"),
        (0, 0, 4, "nothing was made; 4 failed earlier, --retry-failed makes them again"),
        (0, 0, 0, "nothing was left to do"),
    ],
)
def test_nothing_is_left_to_do_only_where_nothing_failed(made: int, failed_now: int, failed: int, speed: str) -> None:
    manifest = COUNTS | {"failed": failed, "mean_vae_psnr": 31.0}
    assert Summary("out", manifest, made, 2.0, failed_now).lines()[3].split(maxsplit=1) == ["speed", speed]
