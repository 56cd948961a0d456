"""The tables of docs/inversion.md, each from the report of one benchmark. Plain data in, Markdown lines out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from augment.evaluation.tables import editing_name, figure, lost_words
from augment.inversion.settings import SINGLE_ITERATION

Row = Mapping[str, Any]
STARTS = ("none", "previous", "extrapolated")
EXCERPT_COSTS = ("1", "2")  # evaluations per step
EXCERPT = ("ddim", "fixed_point", "anderson", "rnri", "rnri_released")  # the README's rows
NUMBERS = {1: "a", 2: "two", 3: "three"}
SPEEDS = ("rnri_released", "rnri", "anderson")  # order of the table of batches


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a Markdown table."""
    return [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {' | '.join(row)} |" for row in rows)]


def starts(report: Row, report_50: Row) -> list[str]:
    """Return how far below the bound each method ends, by its first guess and the number of steps."""
    return markdown(("method", "evaluations per step", *(f"{n} steps" for n in _STEPS)), _starts(report, report_50))


def starts_excerpt(report: Row, report_50: Row) -> list[str]:
    """Return the rows of `starts` about the README's methods, word for word."""
    names = [f"`{name}`" for name in EXCERPT]
    rows = [
        row
        for row in _starts(report, report_50)
        if row[0].strip("*").partition(",")[0] in names and (row[1] in EXCERPT_COSTS or row[0].startswith("**"))
    ]
    return markdown(("method", "evaluations per step", *(f"{n} steps" for n in _STEPS)), rows)


_STEPS = (4, 10, 20, 50)


def _starts(report: Row, report_50: Row) -> list[list[str]]:
    groups: dict[tuple[Any, ...], dict[tuple[int, str], Row]] = {}
    for row in (*report["rows"], *report_50["rows"]):
        what = (bool(row["tolerance"]), row["max_steps"], row["solver"], tuple(sorted(row["settings"].items())))
        groups.setdefault(what, {})[row["num_steps"], row["warm_start"]] = row
    rows: list[tuple[int, list[str]]] = []
    last: list[list[str]] = []
    for (stops_by_itself, *_), group in groups.items():
        first = next(iter(group.values()))
        if stops_by_itself:
            found = [group[n, "extrapolated"] for n in _STEPS]
            cost = " / ".join(f"{r['evaluations_per_step']:.2f}" for r in found)
            name = f"**`{first['solver']}`, the default: tolerance {first['tolerance']:g}**"
            last.append([name, cost, *(f"**{_decibels(r['gap'])}**" for r in found)])
            continue
        cost = round(first["evaluations_per_step"])
        cells = []
        for n in _STEPS:
            of_start = [group.get((n, start)) for start in STARTS]
            cells.append(
                " / ".join("–" if r is None else _decibels(r["gap"]) for r in of_start) if any(of_start) else ""
            )
        rows.append((cost, [_method(first), str(cost), *cells]))
    return [row for _, row in sorted(rows, key=lambda pair: pair[0])] + last


def _method(row: Row) -> str:
    """Return a method's name as the tables have it, with its derivatives per step."""
    if row["solver"] == "anderson" and row["settings"].get("memory") == 3:
        return "`anderson`, m = 3: AIDI as published"
    name = f"`{row['solver']}`" + (", λ = 0.1" if row["solver"] == "anderson_prior" else "")
    for kind, one, many in (("vjp", "backward pass", "backward passes"), ("jvp", "JVP", "JVPs")):
        count = round(row[kind] / row["num_steps"])
        if count:
            name += f", {NUMBERS[count]} {one if count == 1 else many} among them"
    return name


def inverted_latents(report: Row) -> list[str]:
    """Return what the inverted latents look like at ten steps, from the extrapolated start unless said otherwise."""
    rows = [r for r in report["rows"] if r["num_steps"] == 10]
    wanted: list[tuple[str, list[Row]]] = [
        ("`ddim`, from z'", _of(rows, "ddim", "none")),
        ("`ddim`", _of(rows, "ddim")),
    ]
    for name in ("fixed_point", "anderson"):
        wanted.append((f"`{name}`", _of(rows, name)))
    wanted.append(("`newton_krylov`, one JVP in each iteration", _of(rows, "newton_krylov")))
    for name in ("rnri", "rnri_released"):
        wanted += [(f"`{name}`, from z'", _of(rows, name, "none")), (f"`{name}`", _of(rows, name))]
    default = [r for r in rows if r["tolerance"]]
    cells = [_latents_row(label, found, "{:.0f}") for label, found in wanted]
    cells.append(_latents_row(f"**`anderson`, the default: tolerance {default[0]['tolerance']:g}**", default, "{:.2f}"))
    head = ("10 steps, from the extrapolated start unless said otherwise", "evaluations per step", "latent error")
    return markdown((*head, "noise std", "its autocorrelation", "peak MB at batch 16"), cells)


def _of(rows: Sequence[Row], solver: str, start: str = "extrapolated") -> list[Row]:
    """Return a method's rows with fixed budgets and default settings, the cheapest first."""
    found = [
        r
        for r in rows
        if (r["solver"], r["warm_start"]) == (solver, start) and not r["tolerance"] and "memory" not in r["settings"]
    ]
    return sorted(found, key=lambda r: float(r["evaluations_per_step"]))


def _latents_row(label: str, found: Sequence[Row], cost: str) -> list[str]:
    errors = " / ".join(f"{100 * r['latent_error']:.1f}" for r in found) + " %"
    return [
        label,
        " / ".join(cost.format(r["evaluations_per_step"]) for r in found),
        errors,
        " / ".join(f"{r['z_std']:.2f}" for r in found),
        " / ".join(f"{r['z_autocorrelation']:.2f}" for r in found),
        f"{max(r['peak_bytes'] for r in found) / 1e6:.0f}",
    ]


def ablation(report: Row) -> list[str]:
    """Return memory and tolerance of `anderson`, each pair of figures for 4 and 10 steps."""
    groups: dict[tuple[int, float], list[Row]] = {}
    for r in sorted(report["rows"], key=lambda r: int(r["num_steps"])):
        groups.setdefault((r["settings"].get("memory", 2), r["tolerance"]), []).append(r)
    cells = []
    for (memory, tolerance), found in sorted(groups.items()):
        label = f"memory {memory}, tolerance {tolerance:g}"
        cells.append(
            [
                f"**{label}, the default**" if (memory, tolerance) == (2, 0.03) else label,
                " / ".join(f"{r['evaluations_per_step']:.2f}" for r in found),
                " / ".join(f"{r['gap']:.3f}" for r in found),
                " / ".join(f"{100 * r['latent_error']:.1f}" for r in found) + " %",
            ]
        )
    return markdown(("", "evaluations per step", "below the bound, dB", "latent error"), cells)


def guided_inversion(report: Row) -> list[str]:
    """Return inversion under guidance."""
    cells = [
        [
            _budget(r),
            f"{r['evaluations_per_step']:.2f}",
            _decibels(r["gap"]),
            f"{100 * r['latent_error']:.1f} %",
        ]
        for r in report["rows"]
    ]
    return markdown(("method", "evaluations per step", "below the bound, dB", "latent error"), cells)


def _budget(row: Row) -> str:
    """Return a method with its start, if that is z', and its iterations; the default by its tolerance."""
    is_single = row["solver"] in SINGLE_ITERATION
    if row["tolerance"] and not is_single:
        return f"**`{row['solver']}`, the default: tolerance {row['tolerance']:g}**"
    start = ", from z'" if row["warm_start"] == "none" else ""
    count = 1 if is_single else row["max_steps"]
    iterations = f"{count} iteration{'s' if count > 1 else ''}"
    return f"`{row['solver']}`{start}, {iterations}"


def student_euler_ancestral(report: Row) -> list[str]:
    """Return the student's table for Euler-ancestral."""
    return _few_steps(report, "euler_ancestral", "Euler-ancestral")


def student_lcm(report: Row) -> list[str]:
    """Return the student's table for LCM."""
    return _few_steps(report, "lcm", "LCM")


def _few_steps(report: Row, sampler: str, title: str) -> list[str]:
    groups: dict[tuple[Any, ...], dict[bool, Row]] = {}
    for r in report["rows"]:
        if r["sampler"] == sampler:
            key = (r["solver"], r["warm_start"], r["max_steps"], r["tolerance"])
            groups.setdefault(key, {})[r["match_noise"]] = r
    cells = []
    for pair in groups.values():
        matched, fixed = pair[True], pair[False]
        costs = dict.fromkeys(f"{r['evaluations_per_step']:.1f}" for r in (matched, fixed))
        name = _budget(matched) if matched["tolerance"] else _budget(matched).rpartition(", ")[0]
        gaps = [(f"{_decibels(r['gap'])} dB", f"{r['z_std']:.2f}") for r in (matched, fixed)]
        cells.append([name, " / ".join(costs), *gaps[0], *gaps[1]])
    head = (f"{title}, 4 steps", "evaluations per step", "matched: below the bound", "noise std")
    return markdown((*head, "fixed in advance: below the bound", "noise std"), cells)


def editing(report: Row) -> list[str]:
    """Return background edits of the teacher."""
    return _edits(report["editing"], with_sampler=False)


def editing_lcm(report: Row) -> list[str]:
    """Return background edits of the student."""
    return _edits(report["editing"], with_sampler=True)


def _edits(rows: Sequence[Row], *, with_sampler: bool) -> list[str]:
    head = ("method", "guidance", "target background shown", "object kept", "text alignment", "structure distance")
    cells = [
        [
            ", ".join([_edit_name(r, with_sampler), *lost_words(r)]),
            f"{r['guidance_scale']:g}",
            f"{100 * r['background_reached']:.1f} %",
            f"{100 * r['object_kept']:.1f} %",
            figure(r["text_alignment"], ".3f"),
            figure(r["structure_distance"], ".3f"),
            f"{r['evaluations_per_step']:.1f}",
        ]
        for r in rows
    ]
    return markdown((*head, "inversion's evaluations per step"), cells)


def _edit_name(row: Row, with_sampler: bool) -> str:
    sampler = f", {row['sampler']}" if with_sampler else ""
    if row["method"] == "image_to_image":
        return f"image to image, fresh noise, strength {row['strength']:g}{sampler}"
    plain = {k: v for k, v in row.items() if k not in ("sampler", "match_noise", "warm_start")}
    name, _, more = editing_name(plain).partition(", ")
    start = ", from z'" if row["warm_start"] == "none" else ""
    noise = ", noise fixed in advance" if row.get("match_noise") is False else ""
    return f"`{name}`" + (f", {more.replace(' = ', ' ')}" if more else "") + start + sampler + noise


def throughput(report: Row) -> list[str]:
    """Return speed and memory by batch size."""
    rows = sorted(report["throughput"], key=lambda r: (SPEEDS.index(r["solver"]), r["batch_size"]))
    cells = [
        [
            f"`{r['solver']}`",
            str(r["batch_size"]),
            f"{r['images_per_second']:.1f}",
            f"{r['ratio_to_released_batch1']:.2f}",
            f"{r['peak_bytes'] / 1e6:.1f}",
            "" if r["peak_bytes_checkpointed"] is None else f"{r['peak_bytes_checkpointed'] / 1e6:.0f}",
        ]
        for r in rows
    ]
    head = ("method", "batch", "images per second", "ratio to `rnri_released` at batch 1", "peak MB")
    return markdown((*head, "with blocks recomputed"), cells)


def _decibels(value: float | None) -> str:
    text = figure(value, ".2f")
    return "0.00" if text == "-0.00" else text
