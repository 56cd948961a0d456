"""What a person looks at in a finalized output folder: `contact_sheet.png` and `report.html`.

Joins the data side (parts, index, sources) with the drawing side (`augment.report`). The sources shown are kept in
`run/`: the files depend on the output folder only; made again, they are the same bytes, wherever the input is now.
"""

from __future__ import annotations

import io
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow.compute as pc

from augment.dataset.generation import index_of, read_manifest
from augment.dataset.index import read_columns, read_rows
from augment.dataset.parts import read_samples
from augment.dataset.record import RECONSTRUCTION_SUFFIX, edit_key
from augment.errors import ImageError, InputError
from augment.inputs.fit import fit_of
from augment.inputs.images import decode_image, encode_png
from augment.inputs.readers import read_bytes
from augment.ledger.ledger import Ledger
from augment.report.contact_sheet import Tile, contact_sheet
from augment.report.html import Histogram, html_report
from augment.report.outcome import decibels
from augment.seeding import spread
from augment.storage.store import Store
from augment.storage.tar import iter_tar, write_tar
from augment.types import EditStatus, PlannedSource, Source

CONTACT_SHEET, REPORT = "contact_sheet.png", "report.html"
FILES = (CONTACT_SHEET, REPORT)
KEPT_SOURCES = "run/contact_sheet_sources.tar"
_ROWS, _DROPPED_ROWS, _EDITS_PER_ROW = 12, 3, 8
_BINS = 24


def overview(ledger: Ledger, manifest: Mapping[str, Any], locators: Mapping[str, str]) -> dict[str, bytes]:
    """Return `contact_sheet.png` and `report.html` by name; with them the file of the kept sources, if it changes.

    Args:
        ledger: of the folder, whose files are in place.
        manifest: of the published dataset.
        locators: where the sources are now, by key; one that is not named is where the plan says. Sources that were
            shown before are not read again; one that never could be read leaves an empty tile.
    """
    rows, kept_sources = _rows(ledger, manifest, locators)
    sheet = contact_sheet(
        rows,
        f"{manifest['planned']} planned = {manifest['accepted']} accepted + {manifest['rejected']} rejected "
        f"+ {manifest['failed']} failed; reconstruction {decibels(manifest['mean_reconstruction_psnr'])}, "
        f"VAE {decibels(manifest['mean_vae_psnr'])}",
    )
    with ledger.store.open(index_of(manifest)) as file:
        columns = read_columns(file, ["status", "reconstruction_psnr", "vae_psnr", "label_probability"])
    judged = columns.filter(pc.field("status") != EditStatus.FAILED.value)
    kept = pc.equal(judged["status"], EditStatus.ACCEPTED.value).to_numpy()
    psnr, bound, label = (judged[name].to_numpy() for name in judged.column_names[1:])
    gap = bound - psnr
    histograms = [
        _histogram(
            "PSNR gap: VAE round trip minus reconstruction, dB", gap, kept, float(max(gap.max(initial=0.0), 1.0))
        ),
        _histogram("Label probability (CLIP, zero-shot)", label, kept, 1.0),
    ]
    page = html_report(manifest, histograms, sheet)
    return {CONTACT_SHEET: sheet, REPORT: page.encode(), **kept_sources}


def _histogram(title: str, values: Any, kept: Any, upper: float) -> Histogram:
    """Count kept and dropped values in equal bins from the smallest value, at most 0, to `upper`."""
    edges = np.linspace(min(0.0, float(values.min(initial=0.0))), upper, _BINS + 1)
    inside = np.clip(values, edges[0], edges[-1])
    accepted, rejected = (np.histogram(inside[mask], edges)[0].tolist() for mask in (kept, ~kept))
    return Histogram(title, edges.tolist(), accepted, rejected)


def _rows(
    ledger: Ledger, manifest: Mapping[str, Any], locators: Mapping[str, str]
) -> tuple[list[list[Tile]], dict[str, bytes]]:
    """Return what `_tiles` does of a few sources: some spread over the plan, and some of which an edit was dropped."""
    plan = ledger.read_plan()
    assert plan is not None  # the folder is finalized
    with ledger.store.open(index_of(manifest)) as file:
        edits = read_columns(file, ["source_key", "status"])
    dropped = edits.filter(pc.field("status") != EditStatus.ACCEPTED.value)["source_key"].unique().to_pylist()
    shown_dropped = set(spread(dropped, _DROPPED_ROWS, "overview"))
    wanted = set(spread(range(plan.sources), _ROWS - len(shown_dropped), "overview"))
    places = enumerate(planned.source.key for unit in ledger.units() for planned in unit.sources)
    return _tiles(ledger, manifest, {key for place, key in places if place in wanted} | shown_dropped, locators)


def rows_of(ledger: Ledger, keys: Container[str], locators: Mapping[str, str]) -> list[list[Tile]]:
    """Return the tiles of some sources of a finalized folder, in the order of its plan: source, reconstruction, edits.

    Args:
        ledger: of the folder.
        keys: of the sources.
        locators: as for `overview`.
    """
    manifest = read_manifest(ledger.store)
    assert manifest is not None  # the folder is finalized
    return _tiles(ledger, manifest, keys, locators)[0]


def _tiles(
    ledger: Ledger, manifest: Mapping[str, Any], keys: Container[str], locators: Mapping[str, str]
) -> tuple[list[list[Tile]], dict[str, bytes]]:
    """Return what `rows_of` does, and by name the file of the sources that are kept, if it changes."""
    plan = ledger.read_plan()
    assert plan is not None  # the folder is finalized
    chosen = [(unit.unit_id, [p for p in unit.sources if p.source.key in keys]) for unit in ledger.units()]
    sources = [planned for _, some in chosen for planned in some]
    with ledger.store.open(index_of(manifest)) as file:
        index = read_rows(file, [edit_key(p.source.key, v.index) for p in sources for v in p.variants])
    names = {p.source.key: _kept_name(p, index) for p in sources}
    originals, files = _kept_sources(ledger.store, [p.source for p in sources], names, locators, plan.fingerprint)
    rows = []
    for unit_id, some in chosen:
        samples = dict(read_samples(ledger, ledger.report_of(unit_id))) if some else {}
        rows += [_row(planned, originals, samples, index) for planned in some]
    return rows, files


def _kept_name(planned: PlannedSource, index: Mapping[str, dict[str, Any]]) -> str:
    """Return the name under which a source is kept: with the hash of its content, which may change under one key."""
    row = index.get(edit_key(planned.source.key, planned.variants[0].index), {})
    return f"{planned.source.key}-{row.get('source_sha256', '')[:16]}"


def _kept_sources(
    store: Store,
    sources: Sequence[Source],
    names: Mapping[str, str],
    locators: Mapping[str, str],
    settings: Mapping[str, Any],
) -> tuple[Mapping[str, bytes], dict[str, bytes]]:
    """Return the sources as PNG by key, those kept before and the others, read now; and the new file of them, if any.

    Args:
        names: source key -> name under which it is kept.
    """
    try:
        before = {name: files["png"] for name, files in iter_tar(io.BytesIO(store.read(KEPT_SOURCES)))}
    except FileNotFoundError:
        before = {}
    kept = {name: before[name] for name in names.values() if name in before}
    for source in sources:
        if names[source.key] not in kept and (png := _read_source(source, locators, settings)):
            kept[names[source.key]] = png
    found = {key: kept[name] for key, name in names.items() if name in kept}
    if kept == before:
        return found, {}
    with store.scratch() as folder:
        write_tar(folder / "sources.tar", [(name, {"png": png}) for name, png in sorted(kept.items())])
        return found, {KEPT_SOURCES: (folder / "sources.tar").read_bytes()}


def _read_source(source: Source, locators: Mapping[str, str], settings: Mapping[str, Any]) -> bytes:
    """Return a source as the model saw it, without padding, as PNG; b"" if it is gone or damaged."""
    here = replace(source, locator=locators.get(source.key, source.locator))
    colour = settings.get("input.colour", "srgb")
    try:
        return encode_png(np.asarray(decode_image(read_bytes(here), fit_of(settings), colour=colour)))
    except (InputError, ImageError):
        return b""


def _row(
    planned: PlannedSource,
    originals: Mapping[str, bytes],
    samples: Mapping[str, Mapping[str, bytes]],
    index: Mapping[str, dict[str, Any]],
) -> list[Tile]:
    source = planned.source
    keys = [edit_key(source.key, v.index) for v in planned.variants]
    measured = next((index[k] for k in keys if index[k]["status"] != EditStatus.FAILED), None)
    quality = f"{measured['reconstruction_psnr']:.1f} dB (VAE {measured['vae_psnr']:.1f} dB)" if measured else ""

    def picture(key: str) -> bytes:
        return samples.get(key, {}).get("png", b"")

    row = [
        Tile(originals.get(source.key, b""), planned.source_prompt),
        Tile(picture(source.key + RECONSTRUCTION_SUFFIX), quality),
    ]
    for key, variant in list(zip(keys, planned.variants, strict=True))[:_EDITS_PER_ROW]:
        row.append(Tile(picture(key), variant.prompt, index[key]["status"], index[key]["reason"]))
    return row
