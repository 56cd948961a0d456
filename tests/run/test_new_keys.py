"""`augment plan` says which images get another key because new images have the same names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from augment.inputs.keys import unique_keys
from augment.ledger.ledger import Ledger
from augment.run.changes import record_inputs, with_new_keys
from augment.types import Source


def sources(*files: str) -> list[Source]:
    keys = unique_keys([file.rpartition(".")[0] for file in files], lambda i: files[i], lambda i: files[i])
    one = Source("", locator="", size=1, label=0, class_name="cat")
    return [replace(one, key=key, locator=file) for key, file in zip(keys, files, strict=True)]


def test_keys_to_which_a_hash_has_joined(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path))
    assert with_new_keys(ledger, sources("cat/0.jpg")) == []
    record_inputs(ledger, sources("cat/0.jpg", "cat/1.jpg", "cat/a b.jpg"))
    assert with_new_keys(ledger, sources("cat/0.jpg", "cat/1.jpg", "cat/a b.jpg", "cat/2.png")) == []
    assert with_new_keys(ledger, sources("cat/0.jpg", "cat/0.png", "cat/1.jpg", "cat/a b.jpg")) == ["cat/0"]
    assert with_new_keys(ledger, sources("cat/1.jpg")) == []
