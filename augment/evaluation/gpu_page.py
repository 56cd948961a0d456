"""The page docs/gpu.md, made of reports of `jobs/benchmark_gpu.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Report = Mapping[str, Any]

_HEAD = (
    "| batch | encode, images/s | invert, images/s | edit, edits/s | decode, images/s | end to end, images/s | "
    "end to end, edits/s | peak GiB | MFU invert | MFU edit |",
    "|---|---|---|---|---|---|---|---|---|---|",
)
_INTRODUCTION = """# On a GPU

How fast full-size models are on one GPU. The networks have the published sizes and random weights, so nothing was
downloaded. Their speed does not depend on the values of the weights; how many iterations an inversion takes does,
so that number is fixed here, the same for every image and step, and stands above each table. With trained weights
and a tolerance easy steps take fewer.

Every call of a network has as many rows as the batch has images, as in `augment expand`. *Invert* is the inversion
alone, *edit* the sampling of one edit of each image, *encode* and *decode* are the autoencoder. *End to end* is
`augment.editing.edit` from pixels to pixels: it encodes, decodes and reconstructs every image beside its edits.
Images are not read or written, and edits not scored. *MFU* is the model's operations per second over those of a
matrix product in the same run, the bound: 50 % is twice the time that matrix products of the same size of work
would take."""


def gpu_table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the table of a shape's rows in Markdown: a row without figures says why."""
    return [*_HEAD, *map(_line, rows)]


def gpu_page(reports: Sequence[Report]) -> str:
    """Return the page: for each report the machine, the command, and a table for each shape."""
    parts = [_INTRODUCTION]
    for report in reports:
        versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items() if version)
        parts.append(
            f"## {report['device']}, {report['date']}\n\n"
            f"{report['dtype']}, images of {report['size']} x {report['size']} pixels; {versions}. The bound is "
            f"{report['matmul_tflops']:.1f} TFLOP/s.\n\n    {report['command']}"
        )
        for shape in dict.fromkeys(row["shape"] for row in report["rows"]):
            rows = [row for row in report["rows"] if row["shape"] == shape]
            parts += [f"### {shape}", *_settings(report, shape), "\n".join(gpu_table(rows)), *_notes(rows)]
    return "\n\n".join(parts) + "\n"


def _settings(report: Report, shape: str) -> list[str]:
    """Return what was run, a paragraph; nothing for a shape that there was no time to build."""
    about = report["shapes"].get(shape)
    if about is None:
        return []
    editing = about["editing"]
    return [
        f"{about['parameters'] / 1e6:.0f} million parameters, {about['network_gflop']:.0f} GFLOP for each row of the "
        f"denoiser. {editing['sampler']}, {editing['num_steps']} steps, strength {editing['strength']}; solver "
        f"{editing['solver']['name']}, {editing['stop']['max_steps']} iterations at every step; edits with guidance "
        f"{editing['guidance_scale']}, {report['variants_per_image']} of each image end to end."
    ]


def _line(row: Mapping[str, Any]) -> str:
    if row["seconds"] is None:
        return f"| {row['batch']} | {row['status']} |" + " |" * (_HEAD[1].count("---") - 2)
    images, edits = row["images_per_second"], row["edits_per_second"]
    rates = (
        *(images["encode"], images["invert"], edits["edit"], images["decode"]),
        *(images["end_to_end"], edits["end_to_end"]),
    )
    cells = [f"{rate:.3g}" if rate < 100 else f"{rate:.0f}" for rate in rates]
    cells.append("" if row["peak_gib"] is None else f"{row['peak_gib']:.1f}")
    cells += [f"{row[name]:.0%}" for name in ("invert_mfu", "edit_mfu")]
    return f"| {row['batch']} | {' | '.join(cells)} |"


def _notes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what to know about rows, a list; and how far the best batch is from the bound."""
    notes = [f"batch {row['batch']}, {row['status']}: {row['note']}" for row in rows if row["note"]]
    timed = [row for row in rows if row["seconds"] is not None]
    if timed:
        best = max(timed, key=lambda row: row["images_per_second"]["end_to_end"])
        notes.append(
            f"floor: at batch {best['batch']} inversion takes {1 / best['invert_mfu']:.1f} times the bound, edits "
            f"{1 / best['edit_mfu']:.1f} times; "
            + ("one run" if best["repeats"] == 1 else f"medians of {best['repeats']} runs")
            + " after one to warm up"
        )
    return ["\n".join(f"- {' '.join(note.split())}" for note in notes)] if notes else []
