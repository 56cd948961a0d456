"""From a finalized output folder to what a person looks at: `contact_sheet.png` and `report.html`.

Joins the data side (parts, index, sources) with the drawing side (`augment.report`). The sources shown are kept in
`run/`: the files depend on the output folder only; made again, they are the same bytes, wherever the input is now.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from augment.data.images import ImageError, decode_image, encode_png
from augment.data.index import read_index, read_rows
from augment.data.ledger import Ledger
from augment.data.locate import InputError
from augment.data.parts import read_part, read_reconstructions
from augment.data.readers import read_bytes
from augment.data.shards import edit_key
from augment.data.tar import iter_tar, write_bytes_atomic, write_tar
from augment.report.contact_sheet import Tile, contact_sheet
from augment.report.html import Histogram, html_report
from augment.seeding import seed_for
from augment.types import EditStatus, PlannedSource, Source, Unit

T = TypeVar("T")
CONTACT_SHEET, REPORT = "contact_sheet.png", "report.html"
FILES = (CONTACT_SHEET, REPORT)
KEPT_SOURCES = "run/contact_sheet_sources.tar"
_ROWS, _DROPPED_ROWS, _EDITS_PER_ROW = 12, 3, 8
_BINS = 24


def write_overview(ledger: Ledger, manifest: Mapping[str, Any], locators: Mapping[str, str]) -> None:
    """Write both files, atomically.

    Args:
        locators: where the sources are now, by key; one that is not named is where the plan says. Sources that were
            shown before are not read again; one that never could be read leaves an empty tile.
    """
    import numpy as np

    sheet = contact_sheet(
        _rows(ledger, locators),
        f"{manifest['planned']} planned = {manifest['accepted']} accepted + {manifest['rejected']} rejected "
        f"+ {manifest['failed']} failed; reconstruction {manifest['mean_reconstruction_psnr']:.2f} dB, "
        f"VAE {manifest['mean_vae_psnr']:.2f} dB",
    )
    columns = read_index(
        ledger.out / "index.parquet", ["status", "reconstruction_psnr", "vae_psnr", "label_probability"]
    )
    judged = [row for row in columns if row["status"] != EditStatus.FAILED]
    kept = np.array([row["status"] == EditStatus.ACCEPTED for row in judged], dtype=bool)
    gap = np.array([row["vae_psnr"] - row["reconstruction_psnr"] for row in judged], dtype=np.float64)
    label = np.array([row["label_probability"] for row in judged], dtype=np.float64)
    histograms = [
        _histogram(
            "PSNR gap: VAE round trip minus reconstruction, dB", gap, kept, float(max(gap.max(initial=0.0), 1.0))
        ),
        _histogram("Label probability (CLIP, zero-shot)", label, kept, 1.0),
    ]
    page = html_report(manifest, histograms, sheet)
    write_bytes_atomic(ledger.out / CONTACT_SHEET, sheet)
    write_bytes_atomic(ledger.out / REPORT, page.encode())


def _histogram(title: str, values: Any, kept: Any, upper: float) -> Histogram:
    """Counts of kept and of dropped values in equal bins from the smallest value, at most 0, to `upper`."""
    import numpy as np

    edges = np.linspace(min(0.0, float(values.min(initial=0.0))), upper, _BINS + 1)
    inside = np.clip(values, edges[0], edges[-1])
    accepted, rejected = (np.histogram(inside[mask], edges)[0].tolist() for mask in (kept, ~kept))
    return Histogram(title, edges.tolist(), accepted, rejected)


def _rows(ledger: Ledger, locators: Mapping[str, str]) -> list[list[Tile]]:
    """Tiles of a few sources: spread over the plan, and some of which an edit was dropped."""
    plan = ledger.read_plan()
    assert plan is not None  # the folder is finalized
    rows_of_index = read_index(ledger.out / "index.parquet", ["source_key", "status"])
    dropped = list(dict.fromkeys(r["source_key"] for r in rows_of_index if r["status"] != EditStatus.ACCEPTED))
    shown_dropped = set(_spread(dropped, _DROPPED_ROWS))
    wanted = set(_spread(range(plan.sources), _ROWS - len(shown_dropped)))
    size = int(plan.fingerprint["input.image_size"])
    reports = ledger.committed()
    kept_path = ledger.out / KEPT_SOURCES
    kept = {key: files["png"] for key, files in iter_tar(kept_path)} if kept_path.is_file() else {}
    before = len(kept)
    rows = []
    place = 0
    for unit in ledger.units():
        chosen = [p for i, p in enumerate(unit.sources, place) if i in wanted or p.source.key in shown_dropped]
        place += len(unit.sources)
        if chosen:
            for planned in chosen:
                if planned.source.key not in kept and (png := _read_source(planned.source, locators, size)):
                    kept[planned.source.key] = png
            pictures = {record.key: png for record, png in read_part(ledger, reports[unit.unit_id])}
            reconstructions = read_reconstructions(ledger, reports[unit.unit_id])
            index = read_rows(ledger.out / "index.parquet", sorted(_keys(unit)))
            rows += [_row(p, kept, pictures, reconstructions, index) for p in chosen]
    if len(kept) > before:
        write_tar(kept_path, [(key, {"png": png}) for key, png in sorted(kept.items())])
    return rows


def _spread(items: Sequence[T], count: int) -> list[T]:
    """At most `count` items, one from each of as many equal portions.

    Its place in the portion is a hash: datasets often come in a regular order, with which a fixed stride would beat.
    """
    count = min(count, len(items))
    edges = [len(items) * i // count for i in range(count + 1)] if count else []
    return [items[a + seed_for("overview", a, b) % (b - a)] for a, b in itertools.pairwise(edges)]


def _read_source(source: Source, locators: Mapping[str, str], size: int) -> bytes:
    """A source as the model saw it, as PNG; b"" if it is gone or damaged."""
    import numpy as np

    here = replace(source, locator=locators.get(source.key, source.locator))
    try:
        return encode_png(np.asarray(decode_image(read_bytes(here), size)))
    except (InputError, ImageError):
        return b""


def _keys(unit: Unit) -> set[str]:
    return {edit_key(p.source.key, v.index) for p in unit.sources for v in p.variants}


def _row(
    planned: PlannedSource,
    originals: Mapping[str, bytes],
    pictures: Mapping[str, bytes],
    reconstructions: Mapping[str, bytes],
    index: Mapping[str, dict[str, Any]],
) -> list[Tile]:
    source = planned.source
    keys = [edit_key(source.key, v.index) for v in planned.variants]
    measured = next((index[k] for k in keys if index[k]["status"] != EditStatus.FAILED), None)
    quality = f"{measured['reconstruction_psnr']:.1f} dB (VAE {measured['vae_psnr']:.1f} dB)" if measured else ""
    row = [
        Tile(originals.get(source.key, b""), planned.source_prompt),
        Tile(reconstructions.get(source.key, b""), quality),
    ]
    for key, variant in list(zip(keys, planned.variants, strict=True))[:_EDITS_PER_ROW]:
        row.append(Tile(pictures[key], variant.prompt, index[key]["status"], index[key]["reason"]))
    return row
