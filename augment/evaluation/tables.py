"""The benchmark's report as tables: Markdown for a person, CSV for a program. Plain data in, text out."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from augment.inversion.settings import SINGLE_ITERATION

Row = Mapping[str, Any]
NOT_KNOWN = "–"


def csv_table(rows: Sequence[Row]) -> str:
    """Return rows as CSV, one column per field and one per entry of a mapping, named `field.entry`.

    A cell is what JSON writes for the value, text without its quotes; nothing where a row has no such field or entry.
    """
    flat = [_flat(row) for row in rows]
    columns = list(dict.fromkeys(name for row in flat for name in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return buffer.getvalue()


def _flat(row: Row) -> dict[str, str]:
    cells: dict[str, str] = {}
    for name, value in row.items():
        entries = {f"{name}.{k}": v for k, v in value.items()} if isinstance(value, Mapping) else {name: value}
        cells |= {k: _cell(v) for k, v in entries.items()}
    return cells


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def with_nulls(content: Any) -> Any:
    """Return a report with null for what is no number, which JSON has no other word for: of a picture that was lost."""
    if isinstance(content, dict):
        return {key: with_nulls(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [with_nulls(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def is_known(value: float | None) -> TypeGuard[float]:
    """Return whether a figure is a number; those of what was lost are null in a file, and NaN or infinite before."""
    return value is not None and math.isfinite(value)


def figure(value: float | None, form: str, factor: float = 1.0) -> str:
    """Return a figure in a format such as `.2f`, times a factor; a dash for one that is not known."""
    return format(value * factor, form) if is_known(value) else NOT_KNOWN


def method_name(name: str, settings: Row) -> str:
    """Return a solver's name with those of its settings that are not the defaults."""
    return ", ".join([name, *(f"{key} = {value:g}" for key, value in settings.items())])


def schedule_name(row: Row) -> str:
    """Return `10 steps, ddim`, and whether a sampler's own noise was drawn regardless of the image."""
    unmatched = ", noise not matched" if row.get("match_noise") is False else ""
    return f"{row['num_steps']} steps, {row['sampler']}{unmatched}"


def by_schedule(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Group rows by `schedule_name`, in the order in which the names first occur."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(schedule_name(row), []).append(row)
    return groups


def markdown_tables(report: Row) -> list[str]:
    """Return the report as Markdown lines: reconstruction per schedule, noise maps, edits, instances, speed, memory."""
    lines = [f"{report['n']} images of {report['split']}, VAE bound {report['bound_psnr']:.2f} dB"]
    for name, rows in by_schedule(report["rows"]).items():
        lines += ["", *_reconstruction(name, rows)]
    if report.get("noise_maps"):
        lines += ["", *_noise_maps(report["noise_maps"])]
    if report.get("editing"):
        lines += ["", *_editing(report["editing"])]
    for track in dict.fromkeys(row["track"] for row in report.get("instance", ())):
        lines += ["", *_instance(track, [row for row in report["instance"] if row["track"] == track])]
    if report.get("throughput"):
        lines += ["", *_throughput(report["throughput"]), "", *_memory(report["throughput"])]
    return lines


def _table(names: Sequence[str], cells: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (names, ["---"] * len(names), *cells)]


def _limits(row: Row) -> str:
    """Return the iterations of the first inverted step + those of each other, and the tolerance if it can end them."""
    if row["solver"] in SINGLE_ITERATION:
        return f"1 + 1 × {row['num_steps'] - 1}"
    words = f"{row['first_max_steps'] or row['max_steps']} + {row['max_steps']} × {row['num_steps'] - 1}"
    return f"{words}, tolerance {row['tolerance']:g}" if row["tolerance"] else words


def _reconstruction(name: str, rows: Sequence[Row]) -> list[str]:
    head = (name, "warm start", "iterations", "evaluations per step", "calls per step", "PSNR, dB")
    quality = ("below the bound, dB", "latent error", "noise std", "its autocorrelation", "ms per image (range)")
    cells = [
        (
            ", ".join([f"`{method_name(r['solver'], r['settings'])}`", *lost_words(r)]),
            r["warm_start"],
            _limits(r),
            f"{r['evaluations_per_step']:.2f}",
            f"{r['calls'] / r['num_steps']:.2f}",
            figure(r["psnr"], ".2f"),
            figure(r["gap"], ".2f"),
            f"{figure(r['latent_error'], '.1f', 100)} %",
            figure(r["z_std"], ".3f"),
            figure(r["z_autocorrelation"], ".3f"),
            f"{1e3 * r['seconds_per_image']:.0f} ({1e3 * r['seconds_min']:.0f}–{1e3 * r['seconds_max']:.0f})",
            f"{r['peak_bytes'] / 1e6:.1f}",
        )
        for r in rows
    ]
    return _table((*head, *quality, f"peak MB at {rows[0]['batch_size']}"), cells)


def _noise_maps(rows: Sequence[Row]) -> list[str]:
    head = ("noise maps", "evaluations per step", "PSNR, dB", "below the bound, dB", "start std", "map std", "ms")
    cells = [
        (
            f"`{r['method']}`, {schedule_name(r)}",
            f"{r['evaluations_per_step']:.1f}",
            f"{r['psnr']:.2f}",
            f"{r['gap']:.2f}",
            f"{r['z_std']:.3f}",
            f"{r['noise_std']:.3f}",
            f"{1e3 * r['seconds_per_image']:.0f}",
        )
        for r in rows
    ]
    return _table(head, cells)


def _editing(rows: Sequence[Row]) -> list[str]:
    metric = rows[0]["structure_metric"].replace("_", " ")
    head = ("method", "strength", "guidance", "target background shown", "object kept", "text alignment")
    cells = [
        (
            ", ".join([f"`{editing_name(r)}`", *lost_words(r)]),
            f"{r['strength']:g}",
            f"{r['guidance_scale']:g}",
            f"{100 * r['background_reached']:.1f} %",
            f"{100 * r['object_kept']:.1f} %",
            figure(r["text_alignment"], ".3f"),
            figure(r["structure_distance"], ".3f"),
            f"{r['evaluations_per_step']:.1f}",
            f"{1e3 * r['seconds_per_edit']:.0f}",
        )
        for r in rows
    ]
    return _table((*head, f"structure distance ({metric})", "inversion evaluations per step", "ms per edit"), cells)


def _instance(track: str, rows: Sequence[Row]) -> list[str]:
    """Return the table of a track: shares and means, each with the half-width of its 95 % interval."""
    shares = {"target_reached": "target shown", "object_kept": "object kept", "flip_kept": "flip kept"}
    means = {
        "displacement_px": ("displacement, px", 2),
        "size_error": ("size error", 3),
        "turn_error": ("turn error, degrees", 1),
        "mask_iou": ("mask IoU", 3),
        "appearance_change": ("appearance change", 3),
        "companion_change": ("second object's change", 3),
        "outside_change": ("change outside", 3),
    }
    means = {name: about for name, about in means.items() if any(name in row for row in rows)}
    rest = "background kept" if track == "condition" else "condition kept"
    head = (f"{track}, n = {rows[0]['n']}", "strength", "guidance", *shares.values(), rest)
    cells = []
    for row in rows:
        cell = [", ".join([f"`{editing_name(row)}`", *lost_words(row)])]
        cell += [f"{row[k]:g}" if k in row else "" for k in ("strength", "guidance_scale")]
        cell += [_share(row, name) for name in (*shares, "rest_kept")]
        cell += [_mean(row, name, digits) for name, (_, digits) in means.items()]
        cells.append([*cell, figure(row["sharpness"], ".2f"), f"{row['evaluations_per_edit']:.1f}"])
    return _table((*head, *(title for title, _ in means.values()), "sharpness", "evaluations per edit"), cells)


def _share(row: Row, name: str) -> str:
    if name not in row:
        return ""
    return f"{100 * row[name]:.1f} ({100 * row[f'{name}_low']:.0f}–{100 * row[f'{name}_high']:.0f}) %"


def _mean(row: Row, name: str, digits: int) -> str:
    if name not in row:
        return ""
    value, high = row[name], row[f"{name}_high"]
    return f"{value:.{digits}f} ± {high - value:.{digits}f}" if is_known(value) else NOT_KNOWN


def editing_name(row: Row) -> str:
    """Return the method of an editing row, with what is not the default of its solver, its limits and the edit."""
    settings = {k: v for k, v in row.get("solver", {}).items() if k != "name"}
    if (tolerance := row.get("stop", {}).get("tolerance")) and row["method"] not in SINGLE_ITERATION:
        settings["tolerance"] = tolerance
    settings |= {"adjustment": row["adjustment_strength"]} if row.get("adjustment_strength") else {}
    guidance = row.get("inversion_guidance_scale", 1.0)
    settings |= {"guidance while inverting": guidance} if guidance != 1.0 else {}
    words = [method_name(row["method"], settings)]
    words += [f"warm start {row['warm_start']}"] if row.get("warm_start", "none") != "none" else []
    words += [row["sampler"]] if row.get("sampler", "ddim") != "ddim" else []
    words += kept_words(row)
    words += ["noise not matched"] if row.get("match_noise") is False else []
    return ", ".join(words)


def lost_words(row: Row) -> list[str]:
    """Return how many of a row's pictures were lost, with pixels that are no numbers; none: an empty list."""
    return [f"{row['lost']} lost"] if row.get("lost") else []


def kept_words(row: Row) -> list[str]:
    """Return what keeps the object in a row of edits, by the names of the settings; nothing: an empty list."""
    words = [f"preserve: {row['preserve']}"] if row.get("preserve", "none") != "none" else []
    return words + [f"{name}: {row[name]:g}" for name in ("self_replace_steps", "cross_replace_steps") if row.get(name)]


def _throughput(rows: Sequence[Row]) -> list[str]:
    speed = ("images per second", "against `rnri_released` at batch 1", "ms (range)")
    head = ("solver", "warm start", "iterations", "batch", *speed)
    cells = [
        (
            f"`{method_name(r['solver'], r['settings'])}`",
            r["warm_start"],
            _limits(r),
            str(r["batch_size"]),
            f"{r['images_per_second']:.1f}",
            f"{r['ratio_to_released_batch1']:.2f} ×",
            f"{1e3 * r['seconds_per_image']:.1f} ({1e3 * r['seconds_min']:.1f}–{1e3 * r['seconds_max']:.1f})",
        )
        for r in rows
    ]
    return _table(head, cells)


def _memory(rows: Sequence[Row]) -> list[str]:
    """Return peak megabytes: a row per method, with and without checkpointing, a column per batch size."""
    methods: dict[str, dict[int, Row]] = {}
    for r in rows:
        name = f"`{method_name(r['solver'], r['settings'])}`, warm start {r['warm_start']}, {_limits(r)}"
        methods.setdefault(name, {})[r["batch_size"]] = r
    sizes = list(dict.fromkeys(r["batch_size"] for r in rows))
    cells = []
    for name, of_size in methods.items():
        cells.append((name, *(f"{of_size[s]['peak_bytes'] / 1e6:.1f}" for s in sizes)))
        if any(r["peak_bytes_checkpointed"] is not None for r in of_size.values()):
            less = (f"{of_size[s]['peak_bytes_checkpointed'] / 1e6:.1f}" for s in sizes)
            cells.append((f"{name}, blocks checkpointed", *less))
    return _table(("peak MB at batch size", *map(str, sizes)), cells)
