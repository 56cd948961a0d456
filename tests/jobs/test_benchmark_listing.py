"""The benchmark of listing measures the same data set in every kind of manifest."""

from __future__ import annotations

from pathlib import Path

from jobs.benchmark_listing import measure, write_manifest


def test_the_plan_is_the_same_whatever_the_manifest_is_written_in(tmp_path: Path) -> None:
    found = [measure(write_manifest(tmp_path, format, 50)) for format in ("csv", "jsonl", "parquet")]
    assert [figures.sources for figures in found] == [50, 50, 50]
    assert found[0].plan_bytes == found[1].plan_bytes == found[2].plan_bytes > 50 * 4 * 30
    assert all(figures.peak_rss_mb > 10 and figures.listing_seconds >= 0 for figures in found)
