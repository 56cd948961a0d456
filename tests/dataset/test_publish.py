from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from augment.dataset.generation import FOLDERS, index_of, read_manifest
from augment.dataset.index import IndexWriter, read_index, read_rows
from augment.dataset.parts import read_part, read_reconstructions
from augment.dataset.publish import Derived
from augment.dataset.publish import publish as publish_dataset
from augment.dataset.record import SCORE_FIELDS, EditRecord, planned_record
from augment.dataset.shards import ShardLimits
from augment.errors import OutputError
from augment.ledger.ledger import Ledger
from augment.storage.tar import iter_tar, sha256_file
from augment.types import UnitReport
from tests.dataset.parts import (
    at_least,
    finished_ledger,
    planned_sources,
    publish,
    shard_of,
)


def tree(out: Path) -> dict[str, tuple[str, int, int]]:
    """Published files -> hash, inode and time of change: equal only if nothing was written."""
    paths = [*out.glob("*"), *(path for folder in FOLDERS for path in out.glob(f"{folder}/*"))]
    return {
        str(p.relative_to(out)): (sha256_file(p), p.stat().st_ino, p.stat().st_mtime_ns) for p in paths if p.is_file()
    }


def keys_in(out: Path, folder: str) -> list[list[str]]:
    return [[key for key, _ in iter_tar(path)] for path in sorted((out / folder).glob("*.tar"))]


# Label probabilities of the edits of sources 0, 1, 3, 4 are 0.1 0.2, 0.3 0.4, 0.7 0.8, 0.9 0.0; source 2 is broken.
ACCEPTED = ["01_owl-v01", "03_owl-v00", "03_owl-v01", "04_fox-v00"]
REJECTED = ["00_fox-v00", "00_fox-v01", "01_owl-v00", "04_fox-v01"]


def test_everything_planned_is_accounted_for(tmp_path: Path) -> None:
    manifest = publish(finished_ledger(tmp_path)).manifest
    assert keys_in(tmp_path, "shards") == [ACCEPTED]
    assert keys_in(tmp_path, "rejected") == [REJECTED]
    counts = {name: manifest[name] for name in ("planned", "accepted", "rejected", "failed", "shards")}
    assert counts == {"planned": 10, "accepted": 4, "rejected": 4, "failed": 2, "shards": 1}
    assert manifest["reasons"] == {"failed: decode": 2, "label_probability": 4}
    assert manifest["classes"]["fox"] == {"accepted": 1, "rejected": 3, "failed": 2}
    assert (manifest["mean_reconstruction_psnr"], manifest["mean_vae_psnr"]) == (25.0, 27.0)


def test_manifest_names_every_published_file_with_its_hash(tmp_path: Path) -> None:
    manifest = publish(finished_ledger(tmp_path)).manifest
    assert json.loads((tmp_path / "manifest.json").read_bytes()) == manifest
    generation = manifest["inputs"][:12]
    assert generation == manifest["generation"]
    assert sorted(manifest["files"]) == [
        f"index/{generation}.parquet",
        f"rejected/rejected-{generation}-000000.tar",
        f"rejected/rejected-{generation}-000000_stats.json",
        f"shards/train-{generation}-000000.tar",
        f"shards/train-{generation}-000000_stats.json",
    ]
    assert (tmp_path / "index.parquet").read_bytes() == (tmp_path / index_of(manifest)).read_bytes()
    for name, entry in manifest["files"].items():
        assert sha256_file(tmp_path / name) == entry["sha256"]
        assert (tmp_path / name).stat().st_size == entry["bytes"]


def test_published_record_has_its_verdict(tmp_path: Path) -> None:
    publish(finished_ledger(tmp_path))
    accepted = dict(iter_tar(tmp_path / shard_of(tmp_path)))["01_owl-v01"]
    rejected = dict(iter_tar(tmp_path / shard_of(tmp_path, folder="rejected")))["00_fox-v00"]
    assert sorted(accepted) == ["cls", "json", "png", "txt"]
    record = EditRecord.from_json(accepted["json"])
    assert (record.status, record.reason, record.label_probability) == ("accepted", "", 0.4)
    record = EditRecord.from_json(rejected["json"])
    assert (record.status, record.reason) == ("rejected", "label_probability 0.1 < 0.35")


def test_index_has_a_row_per_planned_edit(tmp_path: Path) -> None:
    publish(finished_ledger(tmp_path))
    rows = {row["key"]: row for row in read_index(tmp_path / "index.parquet")}
    assert len(rows) == 10
    assert rows["01_owl-v01"]["shard"] == shard_of(tmp_path)
    assert rows["00_fox-v00"]["shard"] == shard_of(tmp_path, folder="rejected")
    failed = rows["02_broken-v01"]
    assert (failed["status"], failed["stage"], failed["reason"]) == ("failed", "decode", "the file has zero bytes")
    assert (failed["shard"], failed["vae_psnr"]) == ("", None)
    assert rows["03_owl-v00"]["vae_psnr"] == 27.0
    assert read_rows(tmp_path / "index.parquet", []) == {}
    assert read_rows(tmp_path / "index.parquet", ["03_owl-v00"]) == {"03_owl-v00": rows["03_owl-v00"]}


def test_nothing_is_written_when_nothing_changed(tmp_path: Path) -> None:
    ledger = finished_ledger(tmp_path)
    first = publish(ledger)
    before = tree(tmp_path)
    second = publish(ledger)
    assert (first.changed, second.changed) == (True, False)
    assert second.manifest == first.manifest
    assert tree(tmp_path) == before


def test_another_threshold_leaves_no_stale_shard(tmp_path: Path) -> None:
    ledger = finished_ledger(tmp_path)
    publish(ledger, 0.0, max_shard_samples=2)
    assert len(keys_in(tmp_path, "shards")) == 4
    strict = publish(ledger, 0.75, max_shard_samples=2)
    assert strict.changed
    assert keys_in(tmp_path, "shards") == [["03_owl-v01", "04_fox-v00"]]
    assert sum(map(len, keys_in(tmp_path, "rejected"))) == 6
    assert not list((tmp_path / "run").rglob("*.tar"))


def test_bytes_depend_on_parts_and_thresholds_only(tmp_path: Path) -> None:
    publish(finished_ledger(tmp_path / "a"))
    detour = finished_ledger(tmp_path / "b")
    publish(detour, 0.9)
    publish(detour, 0.35)
    a, b = ({name: entry[0] for name, entry in tree(tmp_path / folder).items()} for folder in "ab")
    assert a == b


def test_shards_are_bounded_by_samples_and_by_bytes(tmp_path: Path) -> None:
    ledger = finished_ledger(tmp_path)
    publish(ledger, 0.0, max_shard_samples=3)
    assert [len(keys) for keys in keys_in(tmp_path, "shards")] == [3, 3, 2]
    publish(ledger, 0.0, max_shard_bytes=1)  # one sample always fits
    assert [len(keys) for keys in keys_in(tmp_path, "shards")] == [1] * 8
    names = sorted(p.name for p in (tmp_path / "shards").iterdir())
    first = Path(shard_of(tmp_path)).stem
    assert first.endswith("-000000")
    assert names[:2] == [f"{first}.tar", f"{first}_stats.json"]


def test_statistics_of_a_shard(tmp_path: Path) -> None:
    publish(finished_ledger(tmp_path))
    statistics = json.loads((tmp_path / shard_of(tmp_path).replace(".tar", "_stats.json")).read_bytes())
    assert statistics["samples"] == 4
    assert statistics["classes"] == {"fox": 1, "owl": 3}
    assert statistics["mean"]["label_probability"] == pytest.approx((0.4 + 0.7 + 0.8 + 0.9) / 4)


@pytest.mark.parametrize("lost", ["shards/*.tar", "index/*.parquet", "index.parquet", "README.md", "manifest.json"])
def test_a_lost_file_is_published_again(tmp_path: Path, lost: str) -> None:
    ledger = finished_ledger(tmp_path)
    publish(ledger)
    (path,) = tmp_path.glob(lost)
    lost = str(path.relative_to(tmp_path))
    before = sha256_file(tmp_path / lost)
    (tmp_path / lost).unlink()
    assert publish(ledger).changed
    assert sha256_file(tmp_path / lost) == before


def test_changed_bytes_are_published_again_when_hashes_are_checked(tmp_path: Path) -> None:
    ledger = finished_ledger(tmp_path)
    publish(ledger)
    shard = tmp_path / shard_of(tmp_path)
    good = shard.read_bytes()
    shard.write_bytes(good[:600] + bytes([good[600] ^ 1]) + good[601:])
    assert not publish(ledger).changed  # looking at every byte costs too much for a run that has nothing to do
    assert publish(ledger, check_hashes=True).changed
    assert shard.read_bytes() == good
    assert not publish(ledger, check_hashes=True).changed


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"files": []}', '{"files": {"index.parquet": {"bytes": 1}}}'])
def test_a_ruined_manifest_is_none(tmp_path: Path, content: str) -> None:
    ledger = finished_ledger(tmp_path)
    manifest = publish(ledger).manifest
    (tmp_path / "manifest.json").write_text(content)
    assert read_manifest(ledger.store) is None
    assert publish(ledger).manifest == manifest == read_manifest(ledger.store)


def test_what_cannot_be_written_as_json_removes_nothing(tmp_path: Path) -> None:
    ledger = finished_ledger(tmp_path)
    publish(ledger)
    before = tree(tmp_path)
    with pytest.raises(ValueError, match="JSON"):
        publish_dataset(ledger, judge=at_least(0.5), judge_settings={"min": float("nan")}, limits=ShardLimits())
    assert tree(tmp_path) == before


def test_a_late_commit_is_not_published(tmp_path: Path) -> None:
    ledger = finished_ledger(tmp_path)
    part, sha256 = ledger.write_part("u000003", [("late", {"txt": b"x"})])
    ledger.commit(UnitReport("u000003", "pixels", part, sha256, planned=1, edited=1, failed=0, seconds={}))
    assert publish(ledger).manifest["planned"] == 10


def test_settings_of_a_failed_edit_stay_in_the_index(tmp_path: Path) -> None:
    planned = planned_sources(1)[0]
    settings: dict[str, Any] = {"strength": 0.7, "guidance_scale": 3.0, "inversion_guidance_scale": 1.0}
    record = replace(planned_record(planned, planned.variants[0], "hash"), stage="invert", reason="NaN", **settings)
    writer = IndexWriter(tmp_path / "index.parquet")
    writer.add({name: [value] for name, value in vars(record).items()} | {"shard": [""]})
    writer.close()
    (row,) = read_index(tmp_path / "index.parquet")
    assert {name: row[name] for name in settings} == settings
    assert {row[name] for name in (*SCORE_FIELDS, "inversion_residual", "inversion_iterations")} == {None}


def test_derived_files_are_made_with_the_dataset_and_when_they_are_lost(tmp_path: Path) -> None:
    ledger, made = finished_ledger(tmp_path), list[str]()

    def make(manifest: Mapping[str, Any]) -> dict[str, bytes]:
        assert read_manifest(ledger.store) == manifest  # it may look at what is published
        made.append(manifest["generation"])
        return {"report.html": manifest["generation"].encode(), "run/kept": b"x"}

    settings: dict[str, Any] = {"limits": ShardLimits(), "derived": Derived(("report.html",), make)}
    for times, minimum in enumerate((0.5, 0.9), 1):
        for _ in range(2):
            manifest = publish_dataset(
                ledger, judge=at_least(minimum), judge_settings={"min": minimum}, **settings
            ).manifest
            assert (tmp_path / "report.html").read_text() == manifest["generation"] == made[-1]
            assert len(made) == times
    (tmp_path / "report.html").unlink()
    publish_dataset(ledger, judge=at_least(0.9), judge_settings={"min": 0.9}, **settings)
    assert (tmp_path / "report.html").exists() and (tmp_path / "run" / "kept").read_bytes() == b"x"
    assert len(made) == 3


def test_unfinished_runs_are_not_published(tmp_path: Path) -> None:
    ledger = finished_ledger(tmp_path)
    (tmp_path / "commits" / "u000001.json").unlink()
    with pytest.raises(OutputError, match="1 of 3 units are not done"):
        publish(ledger)
    assert not (tmp_path / "shards").exists()


def test_no_output_folder(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"no plan/plan\.json"):
        publish(Ledger(tmp_path))


def test_reconstructions_are_in_parts_and_not_published(tmp_path: Path) -> None:
    ledger = finished_ledger(tmp_path)
    reports = ledger.committed()
    assert list(read_reconstructions(ledger, reports["u000000"])) == ["00_fox", "01_owl"]
    assert [record.key for record, _ in read_part(ledger, reports["u000002"])] == ["04_fox-v00", "04_fox-v01"]


def test_card_has_the_counts_and_no_path_of_this_machine(tmp_path: Path) -> None:
    publish(finished_ledger(tmp_path))
    card = (tmp_path / "README.md").read_text()
    assert "| 10 | 4 | 4 | 2 |" in card
    assert "| label_probability | 4 |" in card
    assert f"path: {shard_of(tmp_path).replace('000000', '*')}" in card
    for path in [tmp_path / "README.md", tmp_path / "manifest.json", *tmp_path.glob("*/*_stats.json")]:
        assert str(tmp_path) not in path.read_text()
        assert "/nowhere" not in path.read_text()
