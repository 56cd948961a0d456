from __future__ import annotations

import re
from typing import Any

import pytest

from augment.report.html import (
    CHART_HEIGHT,
    CHART_WIDTH,
    Histogram,
    html_report,
    stacked_bars,
)

MANIFEST: dict[str, Any] = {
    "planned": 10,
    "accepted": 7,
    "rejected": 2,
    "failed": 1,
    "mean_reconstruction_psnr": 26.123,
    "mean_vae_psnr": 27.0,
    "classes": {"<b>fox</b>": {"accepted": 7, "rejected": 2, "failed": 1}},
    "reasons": {"label_probability": 2, "failed: decode": 1},
    "filters": {"min_label_probability": 0.5},
    "settings": {"prompts.templates": ["<script>alert(1)</script>"]},
    "files": {
        "shards/train-000000.tar": {"sha256": "ab" * 32, "bytes": 10240, "samples": 7},
        "index.parquet": {"sha256": "cd" * 32, "bytes": 100},
    },
}


def test_bars_are_stacked_and_fit_the_chart() -> None:
    bars = stacked_bars(Histogram("gap", [0.0, 1.0, 2.0], [3, 0], [1, 2]))
    assert [(b.kind, b.hint) for b in bars] == [
        ("accepted", "0 to 1: 3 accepted"),
        ("rejected", "0 to 1: 1 rejected"),
        ("rejected", "1 to 2: 2 rejected"),
    ]
    assert [(b.x, b.y, b.height) for b in bars] == [
        (0.0, CHART_HEIGHT / 4, CHART_HEIGHT * 3 / 4),
        (0.0, 0.0, CHART_HEIGHT / 4),
        (CHART_WIDTH / 2, CHART_HEIGHT / 2, CHART_HEIGHT / 2),
    ]


def test_a_histogram_of_nothing_has_no_bars() -> None:
    assert stacked_bars(Histogram("gap", [0.0, 1.0], [0], [0])) == []


def test_page_shows_the_figures_and_links_the_shards() -> None:
    page = html_report(MANIFEST, [Histogram("gap", [0.0, 1.0], [7], [2])], b"png")
    assert "7 of 10 accepted" in page
    assert "26.12 dB" in page
    assert '<a href="shards/train-000000.tar">' in page
    assert 'src="data:image/png;base64,cG5n"' in page
    assert page.count("<rect ") == 2


def test_page_escapes_what_comes_from_outside_and_loads_nothing() -> None:
    page = html_report(MANIFEST, [], b"")
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "<b>fox" not in page
    assert not re.search(r'(src|href)="(https?:)?//', page)


def test_a_manifest_without_a_field_is_an_error() -> None:
    from jinja2 import UndefinedError

    with pytest.raises(UndefinedError, match="accepted"):
        html_report({k: v for k, v in MANIFEST.items() if k != "accepted"}, [], b"")
