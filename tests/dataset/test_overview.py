"""The contact sheet and the report of a published folder."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from augment.dataset.generation import read_manifest
from augment.dataset.overview import FILES, KEPT_SOURCES, overview
from augment.dataset.publish import Derived
from augment.dataset.publish import publish as publish_dataset
from augment.dataset.shards import ShardLimits
from augment.inputs.images import encode_png
from augment.ledger.ledger import Ledger
from augment.storage.tar import iter_tar
from augment.types import Verdict
from tests.dataset.parts import finished_ledger
from tests.object_store import FreshUrl


def shown(ledger: Ledger, locators: dict[str, str]) -> list[bytes]:
    """Publish, and return what is there for people then."""
    ledger.store.remove([FILES[0]])  # so that they are made again
    publish_dataset(
        ledger,
        judge=lambda scores: Verdict(True, "", 1.0),
        judge_settings={},
        limits=ShardLimits(),
        derived=Derived(FILES, partial(overview, ledger, locators=locators)),
    )
    return [ledger.store.read(name) for name in FILES]


@pytest.fixture
def locators(tmp_path: Path) -> dict[str, str]:
    """Where the sources are now; the plan says that they are nowhere."""
    import numpy as np

    (tmp_path / "moved.png").write_bytes(encode_png(np.full((8, 8, 3), 99, np.uint8)))
    return {key: str(tmp_path / "moved.png") for key in ("00_fox", "01_owl", "02_broken", "03_owl", "04_fox")}


def test_sources_that_were_shown_stay_when_their_folder_is_gone(tmp_path: Path, locators: dict[str, str]) -> None:
    ledger = finished_ledger(tmp_path / "out")
    empty = shown(finished_ledger(tmp_path / "other"), {})
    first = shown(ledger, locators)
    assert first[0] != empty[0]
    assert shown(ledger, {}) == first


def test_a_source_that_was_not_there_is_shown_once_it_is(tmp_path: Path, locators: dict[str, str]) -> None:
    ledger = finished_ledger(tmp_path / "out")
    without = shown(ledger, {})
    assert shown(ledger, locators) != without


def test_on_an_object_store(
    tmp_path: Path,
    locators: dict[str, str],
    object_store: FreshUrl,
) -> None:
    local, remote = finished_ledger(tmp_path / "out"), finished_ledger(object_store())
    files = shown(local, locators)
    assert shown(remote, locators) == files
    assert shown(remote, {}) == files  # from the sources that it has kept
    assert remote.store.read(KEPT_SOURCES) == local.store.read(KEPT_SOURCES)


def test_only_what_is_shown_is_read(tmp_path: Path, locators: dict[str, str]) -> None:
    """Of 25 sources 12 are shown: parts of the others, and their sources, may be gone."""
    ledger = finished_ledger(tmp_path, count=25, unit_size=1)
    files = shown(
        ledger, dict.fromkeys((p.source.key for u in ledger.units() for p in u.sources), next(iter(locators.values())))
    )
    kept = {name.rpartition("-")[0] for name, _ in iter_tar(tmp_path / KEPT_SOURCES)}
    assert len(kept) == 12
    for unit in ledger.units():
        if unit.sources[0].source.key not in kept:
            ledger.store.remove([f"parts/{ledger.report_of(unit.unit_id).part}"])
    manifest = read_manifest(ledger.store)
    assert manifest is not None
    assert [overview(ledger, manifest, {})[name] for name in FILES] == files
