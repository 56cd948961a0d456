"""Folders of shards that `augment expand` is publishing anew: of the two datasets there, the published one is read."""

from __future__ import annotations

import json
from pathlib import Path

import fsspec
import pytest

from augment.errors import InputError
from augment.inputs.patterns import expand_files, expand_shards
from augment.storage.tar import write_bytes_atomic, write_tar
from tests.dataset.parts import finished_ledger, publish, shard_of


def test_shards_that_the_manifest_does_not_name_are_left_out(tmp_path: Path) -> None:
    ledger = finished_ledger(tmp_path)
    publish(ledger)
    write_tar(tmp_path / "shards" / "train-000000000000-000000.tar", [("old", {"cls": b"0"})])
    found, left_out = expand_files(tmp_path / "shards", (".tar",), "shards")
    assert found == [str(tmp_path / shard_of(tmp_path))]
    assert left_out == {"text": 1, "shard that manifest.json does not name": 1}
    assert expand_shards(f"{tmp_path}/shards/") == found
    assert len(expand_shards(f"{tmp_path}/shards/*.tar")) == 2  # that was asked for


@pytest.mark.parametrize("manifest", [None, "{", "[]", '{"pictures": 3}', '{"files": 1}'])
def test_any_other_folder_is_read_as_it_is(tmp_path: Path, manifest: str | None) -> None:
    write_bytes_atomic(tmp_path / "shards" / "a.tar", b"")
    if manifest is not None:
        (tmp_path / "manifest.json").write_text(manifest)
    assert expand_shards(tmp_path / "shards") == [str(tmp_path / "shards" / "a.tar")]


def test_nothing_is_accepted(tmp_path: Path) -> None:
    write_bytes_atomic(tmp_path / "shards" / "old.tar", b"")
    (tmp_path / "manifest.json").write_text(json.dumps({"files": {}}))
    with pytest.raises(InputError, match=r"no \.tar file in the folder"):
        expand_shards(tmp_path / "shards")


def test_in_a_store() -> None:
    store = fsspec.filesystem("memory")
    for name in ("old.tar", "new.tar"):
        store.pipe_file(f"/published/shards/{name}", b"")
    store.pipe_file("/published/manifest.json", json.dumps({"files": {"shards/new.tar": {}}}).encode())
    assert expand_shards("memory://published/shards") == ["memory://published/shards/new.tar"]
