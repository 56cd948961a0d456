"""Edits of earlier parts that are found again: which picture their reconstruction is of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from augment.dataset.record import EDITED, RECONSTRUCTION_SUFFIX, edit_files, planned_record
from augment.ledger.ledger import Ledger
from augment.run.batch import EditedImage
from augment.run.reuse import FinishedEdits, merged
from augment.types import FinishedPart, PlannedSource, Source, Variant

VERSIONS = {"old": "a" * 64, "new": "b" * 64}  # of a picture -> hash of its file


def planned(version: str = "") -> PlannedSource:
    source = Source("fox/0", "/nowhere/0.bmp", 10, 0, "fox", version=version)
    return PlannedSource(source, "a fox", (Variant(0, "a fox on snow"), Variant(1, "a fox on sand")))


def part_of(ledger: Ledger, picture: str) -> FinishedPart:
    """A part with the edits that were made of a picture of the source."""
    samples = []
    for variant in planned().variants:
        record = replace(
            planned_record(planned(), variant, "config"),
            status=EDITED,
            aug_id=f"{picture} {variant.index}",
            source_sha256=VERSIONS[picture],
        )
        samples.append((record.key, edit_files(record, f"edit of {picture}".encode())))
    samples.append((f"fox/0{RECONSTRUCTION_SUFFIX}", {"png": picture.encode()}))
    return FinishedPart(*ledger.write_part("u000000", samples))


@pytest.fixture(params=[("old", "new"), ("new", "old")], ids="-".join)
def before(request: pytest.FixtureRequest, tmp_path: Path) -> FinishedEdits:
    """What is found in two parts, read in either order."""
    ledger = Ledger(tmp_path)
    return FinishedEdits(ledger.store, [part_of(ledger, picture) for picture in request.param], "config")


@pytest.mark.parametrize("picture", VERSIONS)
def test_a_reconstruction_is_of_the_picture_that_the_edits_are_of(before: FinishedEdits, picture: str) -> None:
    kept = before.find(planned(), [[f"{picture} 0"], [f"{picture} 1"]])
    assert {edit.png for edit in kept.values()} == {f"edit of {picture}".encode()}
    samples = dict(merged(planned(), kept, EditedImage((), ())).samples)
    assert samples[f"fox/0{RECONSTRUCTION_SUFFIX}"] == {"png": picture.encode()}


def test_a_source_that_cannot_be_read_is_what_its_version_says(before: FinishedEdits) -> None:
    kept = before.find_unread(planned(VERSIONS["new"][:16]))
    assert [edit.png for edit in kept.values()] == [b"edit of new"] * 2
    assert before.find_unread(planned()) == {}  # it may be either
    assert before.find_unread(planned("c" * 16)) == {}


def test_a_source_that_cannot_be_read_is_not_found_in_other_folders(tmp_path: Path) -> None:
    """There the same key may be another picture, which only the content tells."""
    part = part_of(Ledger(tmp_path / "other"), "old")
    found = FinishedEdits(Ledger(tmp_path / "out").store, [replace(part, out=str(tmp_path / "other"))], "config")
    assert found.find_unread(planned()) == {}
    assert len(found.find(planned(), [["old 0"], ["old 1"]])) == 2
