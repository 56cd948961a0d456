"""The job that renders the splits: what it prints, and what it says without a font."""

from __future__ import annotations

from pathlib import Path

import pytest

from augment.storage.tar import sha256_file
from augment.tiny.glyphs import sprite
from augment.tiny.wide_splits import WIDE_SPLITS
from jobs.render_splits import main


@pytest.mark.usefixtures("emoji_font")
def test_it_names_every_tar_with_its_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("augment.tiny.dataset.PER_CLASS", {"train": 1, "val": 1, "test": 1})
    monkeypatch.setattr("augment.tiny.wide_splits.WIDE_PER_CLASS", dict.fromkeys(WIDE_SPLITS, 1))
    monkeypatch.setattr("sys.argv", ["render_splits", str(tmp_path)])
    main()
    counts = {"train": 16, "val": 16, "test": 16, "unknown_val": 24, "unknown_test": 24}
    counts |= {"marks_train": 8, "marks_val": 8, "marks_test": 8}
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"{tmp_path}/{name}.tar  {count} records  sha256 {sha256_file(tmp_path / f'{name}.tar')}"
        for name, count in counts.items()
    ]


def test_without_the_font_it_says_what_to_install_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sprite.cache_clear()
    monkeypatch.setattr("augment.tiny.glyphs.FONT_PATHS", ("/no/such/font.ttf",))
    monkeypatch.setattr("sys.argv", ["render_splits", str(tmp_path)])
    with pytest.raises(SystemExit, match="apt-get install fonts-noto-color-emoji"):
        main()
    assert list(tmp_path.iterdir()) == []
