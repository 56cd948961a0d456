from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from augment.dataset.publish import publish as publish_dataset
from augment.dataset.shards import ShardLimits
from augment.errors import OutputError
from augment.inputs.images import encode_png
from augment.storage.tar import iter_tar, sha256_file, write_tar
from tests.dataset.parts import finished_ledger, shard_of
from tests.dataset.verified import SECOND, TRAIN, at, index_at, judge, published, verify
from tests.object_store import FreshUrl

Samples = list[tuple[str, dict[str, bytes]]]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return published(tmp_path)


def rewrite(out: Path, change: Callable[[Samples], Samples], name: str = TRAIN) -> None:
    """Change the samples of a shard, and its hash in the manifest, so that only what is inside can give it away."""
    path = at(out, name)
    write_tar(path, change(list(iter_tar(path))))
    manifest = json.loads((out / "manifest.json").read_bytes())
    manifest["files"][str(path.relative_to(out))]["sha256"] = sha256_file(path)
    (out / "manifest.json").write_text(json.dumps(manifest))


def with_file(extension: str, data: bytes) -> Callable[[Samples], Samples]:
    return lambda samples: [(samples[0][0], samples[0][1] | {extension: data}), *samples[1:]]


def with_field(name: str, value: object) -> Callable[[Samples], Samples]:
    def change(samples: Samples) -> Samples:
        record = json.loads(samples[0][1]["json"]) | {name: value}
        return with_file("json", json.dumps(record).encode())(samples)

    return change


def test_a_good_folder(out: Path) -> None:
    assert verify(out).as_dict() == {
        "ok": True,
        "planned": 10,
        "accepted": 4,
        "rejected": 4,
        "failed": 2,
        "shards": 2,
        "problems": [],
    }


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (with_file("png", b"no picture"), "png: not an image"),
        (with_file("cls", b"7"), "cls is b'7', the label in json 1"),
        (with_file("txt", b"another"), "txt is not the target prompt"),
        (with_file("webp", b"more"), "has cls, json, png, txt, webp instead of"),
        (with_file("json", b"{}"), "json: fields missing"),
        (with_field("vae_psnr", None), "vae_psnr is None"),
        (with_field("vae_psnr", 27), "vae_psnr is 27, which is no float"),
        (with_field("key", "other"), "json: key is other"),
        (with_field("status", "rejected"), "status is rejected in a shard of accepted edits"),
        (with_field("reason", "why"), "an edit that was accepted has the reason 'why'"),
        (with_field("class_name", "fox"), "label 1 is not the class 'fox' of the plan"),
        (with_field("config_hash", "0"), "config_hash is 0, the plan's"),
    ],
)
def test_a_bad_sample_is_named(out: Path, change: Callable[[Samples], Samples], problem: str) -> None:
    rewrite(out, change)
    result = verify(out)
    assert not result.ok
    assert any(problem in p and f"{TRAIN}: 01_owl-v01: " in p for p in result.problems), result.problems


@pytest.mark.parametrize(
    ("fit", "problems"),
    [
        ("crop", ["pictures have different sizes: 8x2, 8x8"]),
        ("bucket", ["pictures have sizes that input.fit 'bucket' does not give: 8x2"]),
        ("pad", []),
    ],
)
def test_sizes_that_the_fit_gives(tmp_path: Path, fit: str, problems: list[str]) -> None:
    settings = {} if fit == "crop" else {"input.fit": fit}
    publish_dataset(finished_ledger(tmp_path, **settings), judge=judge, judge_settings={}, limits=ShardLimits())
    rewrite(tmp_path, with_file("png", encode_png(np.zeros((2, 8, 3), np.uint8))))
    assert verify(tmp_path).problems == problems


def test_a_lost_sample_breaks_the_sum(out: Path) -> None:
    rewrite(out, lambda samples: samples[1:])
    result = verify(out)
    assert result.accepted == 3
    assert "planned 10, but accepted 3 + rejected 4 + failed 2 = 9" in result.problems
    assert any("01_owl-v01 is accepted, the shards say failed" in p for p in result.problems)


def test_a_key_in_two_shards(out: Path) -> None:
    first = list(iter_tar(at(out, TRAIN)))
    rewrite(out, lambda samples: [*samples, first[0]], SECOND)
    assert f"{SECOND}: the key 01_owl-v01 occurs a second time" in verify(out).problems


def test_changed_bytes(out: Path) -> None:
    data = bytearray((at(out, TRAIN)).read_bytes())
    data[600] ^= 1
    (at(out, TRAIN)).write_bytes(data)
    assert f"{TRAIN}: its sha256 is not the one in manifest.json" in verify(out).problems


def test_a_truncated_tar(out: Path) -> None:
    (at(out, TRAIN)).write_bytes((at(out, TRAIN)).read_bytes()[:700])
    assert any(p.startswith(f"{TRAIN}: not a readable tar") for p in verify(out).problems)


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("label_probability", 0.5, "01_owl-v01 its label_probability is 0.4, the shards say 0.5"),
        ("label", 0, "01_owl-v01 its label is 1, the shards say 0"),
    ],
)
def test_an_index_that_says_something_else(out: Path, name: str, value: float, problem: str) -> None:
    rewrite(out, with_field(name, value))
    assert f"index.parquet: {problem}" in verify(out).problems


def test_a_sample_in_another_shard_than_the_index_says(out: Path) -> None:
    samples = {name: list(iter_tar(at(out, name))) for name in (TRAIN, SECOND)}
    rewrite(out, lambda _: samples[TRAIN][1:])
    rewrite(out, lambda _: [samples[TRAIN][0], *samples[SECOND]], SECOND)
    assert verify(out).problems == [f"index.parquet: 01_owl-v01 its shard is {TRAIN}, the shards say {SECOND}"]


def test_files_under_one_name_that_are_of_another_dataset(out: Path) -> None:
    (out / "index.parquet").write_bytes(b"old")
    (out / "README.md").unlink()
    assert verify(out).problems == ["index.parquet: not the same as index.parquet", "README.md: missing"]
    (out / "README.md").write_text("old")
    (out / "index.parquet").unlink()
    assert verify(out).problems == ["index.parquet: missing", "README.md: not the card of this dataset"]


def test_a_manifest_of_another_plan(out: Path) -> None:
    manifest = json.loads((out / "manifest.json").read_bytes())
    (out / "manifest.json").write_text(json.dumps(manifest | {"plan": "0"}))
    assert verify(out).problems == [f"manifest.json is of the plan 0, plan/ is {manifest['plan']}"]


def test_files_made_from_the_dataset_are_to_be_there(out: Path) -> None:
    (out / "report.html").write_text("")
    assert verify(out, ["report.html", "contact_sheet.png"]).problems == ["contact_sheet.png: missing"]


@pytest.mark.parametrize("content", ["[]", "{}", '{"files": {"index.parquet": {}}}'])
def test_a_ruined_manifest(out: Path, content: str) -> None:
    (out / "manifest.json").write_text(content)
    assert "manifest.json is missing or not readable" in verify(out).problems[0]


def test_an_index_without_a_column(out: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(pq.read_table(index_at(out)).drop_columns(["label", "shard"]), index_at(out))
    assert any(p.startswith("index.parquet: not readable") and "shard" in p for p in verify(out).problems)


def test_missing_and_stale_shards(out: Path) -> None:
    (at(out, TRAIN)).rename(out / "shards" / "train-000009.tar")
    problems = verify(out).problems
    assert f"{TRAIN}: missing" in problems
    assert "shards/train-000009.tar: not in manifest.json; a stale or foreign file" in problems


def test_a_manifest_that_counts_wrong(out: Path) -> None:
    manifest = json.loads((out / "manifest.json").read_bytes())
    (out / "manifest.json").write_text(json.dumps(manifest | {"accepted": 5}))
    assert verify(out).problems == [
        "README.md: not the card of this dataset",
        "manifest.json says accepted 5, found 4",
    ]


def test_an_unreadable_index(out: Path) -> None:
    index_at(out).write_bytes(b"PAR1")
    problems = verify(out).problems
    assert any(p.startswith("index.parquet: not readable") for p in problems)


def test_an_unfinished_folder(out: Path) -> None:
    (out / "manifest.json").unlink()
    result = verify(out)
    assert (result.ok, result.planned) == (False, 10)
    assert "manifest.json is missing" in result.problems[0]


def test_an_object_store_is_checked_as_a_disk_is(object_store: FreshUrl) -> None:
    ledger = finished_ledger(object_store())
    publish_dataset(ledger, judge=judge, judge_settings={}, limits=ShardLimits(max_shard_samples=3))
    good = verify(ledger.store.url)
    assert good.ok
    assert (good.planned, good.accepted, good.rejected, good.failed, good.shards) == (10, 4, 4, 2, 2)
    train = shard_of(ledger)
    shard = ledger.store.read(train)
    for damaged in (shard[:600] + bytes([shard[600] ^ 1]) + shard[601:], shard[:700]):
        ledger.store.write(train, damaged)
        assert f"{TRAIN}: its sha256 is not the one in manifest.json" in verify(ledger.store.url).problems
    ledger.store.remove([train])
    ledger.store.write("shards/notes.txt", b"x")
    problems = verify(ledger.store.url, ["report.html"]).problems
    for problem in (f"{TRAIN}: missing", "shards/notes.txt: not in manifest.json; a stale or foreign file"):
        assert problem in problems
    assert "report.html: missing" in problems


def test_something_else_entirely(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no output folder"):
        verify(tmp_path)
