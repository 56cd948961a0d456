"""The benchmark's report as plots, SVG and PNG. Plain data in, bytes out; the same report gives the same bytes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from augment.evaluation.tables import by_schedule, editing_name, method_name
from augment.inversion.settings import SINGLE_ITERATION
from augment.report.plot_style import COLOURS, plot_look, rendered_plot

Row = Mapping[str, Any]
# Every method has a marker of its own as well as a colour; the numbers of colours and of markers have no common
# divisor, so that many methods differ from each other in one of them.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "p", "h", "d")
FILLS = ("full", "none", "left", "top")  # tell the variants of one method apart
START_FILLS = {"extrapolated": "full", "previous": "left", "none": "none"}  # by warm start
NEAR = 0.02  # dB from the bound: closer than that the PSNR axis is about linear, further away logarithmic


def plots(report: Row) -> dict[str, bytes]:
    """Return every plot that the report has rows for, by file name."""
    with plot_look():
        figures: dict[str, Figure] = {}
        if report["rows"]:
            figures["psnr_seconds"] = reconstruction_figure(report, "seconds_per_image", "seconds per image")
            figures["psnr_evaluations"] = reconstruction_figure(
                report, "evaluations_per_step", "network evaluations per step"
            )
        if report.get("editing"):
            figures["editing"] = editing_figure(report)
        if report.get("instance"):
            figures["instance"] = instance_figure(report)
        return {
            f"{name}.{kind}": rendered_plot(figure, kind) for name, figure in figures.items() for kind in ("svg", "png")
        }


def family_name(row: Row) -> str:
    """Return the method with its settings, budgets and warm start aside. A tolerance is no fixed budget."""
    ends_it = row.get("tolerance") and row["solver"] not in SINGLE_ITERATION
    tolerance = {"tolerance": row["tolerance"]} if ends_it else {}
    return method_name(row["solver"], {**row["settings"], **tolerance})


def series_name(row: Row) -> str:
    """Return the method and its warm start: rows of one name are one line in the plots."""
    name = family_name(row)
    return name if row["warm_start"] == "none" else f"{name}, warm start {row['warm_start']}"


def reconstruction_figure(report: Row, x: str, label: str) -> Figure:
    """Draw PSNR against `x`, a panel per schedule: a marker per method, its budgets joined, the bound dashed.

    The marker is filled by the warm start.
    """
    panels = by_schedule(report["rows"])
    families = {name: i for i, name in enumerate(dict.fromkeys(map(family_name, report["rows"])))}
    starts = [start for start in START_FILLS if any(r["warm_start"] == start for r in report["rows"])]
    columns = math.ceil(math.sqrt(len(panels)))
    lines = math.ceil(len(panels) / columns)
    entries = 1 + len(families) + len(starts)
    figure = Figure(figsize=(2.6 + 3.6 * columns, 0.6 + max(3.0 * lines, 0.22 * entries)), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for axes, (name, rows) in zip(grid.flat, panels.items(), strict=False):
        axes.axhline(report["bound_psnr"], color="#555555", linestyle="--", linewidth=1.2, label="VAE bound")
        _draw(axes, rows, families, x)
        axes.set(title=name, xlabel=label, ylabel="PSNR, dB (log to the bound)", xscale="log")
        _plain_ticks(axes)
        _stretch_towards(axes, report["bound_psnr"], rows)
    handles = [grid.flat[0].lines[0]]
    handles += [Line2D([], [], label=name, **_marker((i, 0))) for name, i in families.items()]
    if len(starts) > 1:
        handles += [Line2D([], [], label=f"warm start: {start}", **_start_marker(start)) for start in starts]
    figure.legend(handles=handles, loc="outside right upper", frameon=False)
    return figure


def editing_figure(report: Row) -> Figure:
    """Draw alignment with the target prompt against the distance to the source; up and left is better."""
    rows = report["editing"]
    labels = [f"{editing_name(r)}, strength {r['strength']:g}, guidance {r['guidance_scale']:g}" for r in rows]
    styles = _styles([(r["method"], label) for r, label in zip(rows, labels, strict=True)])
    figure = Figure(figsize=(8.2, max(3.8, 0.6 + 0.3 * len(styles))), layout="constrained")
    axes = figure.subplots()
    for method in dict.fromkeys(r["method"] for r in rows):
        of_method = [i for i, r in enumerate(rows) if r["method"] == method]
        xs, ys = ([rows[i][name] for i in of_method] for name in ("structure_distance", "text_alignment"))
        axes.plot(xs, ys, color=_marker(styles[labels[of_method[0]]])["color"], linewidth=0.8, alpha=0.5)
    for row, label in zip(rows, labels, strict=True):
        axes.plot([row["structure_distance"]], [row["text_alignment"]], label=label, **_marker(styles[label]))
    axes.margins(0.12)
    axes.set(
        title=f"background edits, {rows[0]['num_steps']} steps, {rows[0]['sampler']}: up and left is better",
        xlabel=f"structure distance to the source ({rows[0]['structure_metric'].replace('_', ' ')})",
        ylabel="CLIP text alignment (cosine)",
    )
    _legend(figure, [axes])
    return figure


def instance_figure(report: Row) -> Figure:
    """Draw how many edits show their target against how far the object moved, a panel per track; up and left is better.

    A line joins the strengths of a method; the dotted line is what the judge misreads of the autoencoder's round trip.
    """
    edited = [r for r in report["instance"] if "strength" in r and r["method"] != "text_to_image"]
    tracks = list(dict.fromkeys(r["track"] for r in report["instance"]))
    styles = _styles([(r["method"], editing_name(r)) for r in edited])
    columns = math.ceil(math.sqrt(len(tracks)))
    lines = math.ceil(len(tracks) / columns)
    legend = 1.0 + 0.08 * max(map(len, styles))  # inches
    figure = Figure(figsize=(legend + 3.4 * columns, max(3.0 * lines, 0.6 + 0.25 * len(styles))), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes in grid.flat[len(tracks) :]:
        axes.set_axis_off()
    for axes, track in zip(grid.flat, tracks, strict=False):
        error = next(r for r in report["instance"] if r["track"] == track and r["method"] == "round_trip")
        axes.axvline(error["displacement_px"], color="#555555", linestyle=":", linewidth=1.2, label="judge's own error")
        for label, look in styles.items():
            points = sorted(
                (r["strength"], r["displacement_px"], 100 * r["target_reached"])
                for r in edited
                if r["track"] == track and editing_name(r) == label
            )
            axes.plot([p[1] for p in points], [p[2] for p in points], label=label, **_marker(look))
        axes.set(title=track, xlabel="displacement of the object, px", ylabel="target shown, %")
        # At least ten points high: two edits of two hundred are no difference to be looked at.
        axes.set_ylim(min(axes.get_ylim()[0], 90.0), 101.0)
        axes.set_xlim(left=0.0)
    _legend(figure, list(grid.flat[: len(tracks)]))
    return figure


def _styles(labels: Sequence[tuple[str, str]]) -> dict[str, tuple[int, int]]:
    """Return, for (family, label) pairs, by label: (number of its family, number within it), in order of appearance.

    With more variants of one family than can be told apart by their fill, each label is a family of its own.
    """
    families: dict[str, list[str]] = {}
    for family, label in dict.fromkeys(labels):
        families.setdefault(family, []).append(label)
    if max(map(len, families.values()), default=0) > len(FILLS):
        families = {label: [label] for members in families.values() for label in members}
    return {label: (i, j) for i, members in enumerate(families.values()) for j, label in enumerate(members)}


def _marker(style: tuple[int, int]) -> dict[str, Any]:
    family, member = style
    return {
        "color": COLOURS[family % len(COLOURS)],
        "marker": MARKERS[family % len(MARKERS)],
        "fillstyle": FILLS[member % len(FILLS)],
        "markerfacecoloralt": "white",
        "markersize": 7,
        "linewidth": 1.0,
    }


def _start_marker(start: str) -> dict[str, Any]:
    return {**_marker((0, 0)), "color": "#777777", "marker": "o", "linewidth": 0.0, "fillstyle": START_FILLS[start]}


def _draw(axes: Axes, rows: Sequence[Row], families: Mapping[str, int], x: str) -> None:
    """Draw one line with markers per method and warm start, from its cheapest budget to its dearest."""
    series: dict[str, list[Row]] = {}
    for r in rows:
        series.setdefault(series_name(r), []).append(r)
    for label, members in series.items():
        points = sorted((r[x], r["psnr"]) for r in members)
        look = {**_marker((families[family_name(members[0])], 0)), "fillstyle": START_FILLS[members[0]["warm_start"]]}
        axes.plot([p[0] for p in points], [p[1] for p in points], label=label, **look)


def _plain_ticks(axes: Axes) -> None:
    """Label the x axis at 1, 2, 5 instead of at powers of ten; at more numbers where it is short."""
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high > 8 * low else (1, 1.5, 2, 3, 4, 6, 8)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _stretch_towards(axes: Axes, bound: float, rows: Sequence[Row]) -> None:
    """Make the PSNR axis logarithmic in the distance to the bound.

    Good methods differ by hundredths of a decibel there, and what diverged, by tens, does not flatten them.
    """

    def forward(psnr: Any) -> Any:
        return np.sign(psnr - bound) * np.log1p(np.abs(psnr - bound) / NEAR)

    def backward(place: Any) -> Any:
        return bound + np.sign(place) * NEAR * np.expm1(np.abs(place))

    values = [bound, *(r["psnr"] for r in rows if math.isfinite(r["psnr"]))]
    low, high = forward(min(values)), forward(max(values))
    ticks = [bound - gap for gap in (50, 20, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0) if bound - gap >= min(values)]
    axes.set_yscale("function", functions=(forward, backward))
    axes.set_ylim(backward(low - 0.3), backward(high + 0.3))
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_major_formatter(FixedFormatter([f"{tick:.2f}" for tick in ticks]))
    axes.yaxis.set_minor_locator(NullLocator())


def _legend(figure: Figure, panels: Sequence[Axes]) -> None:
    """Draw one legend for all panels, outside of them."""
    entries: dict[str, Artist] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    figure.legend(list(entries.values()), list(entries), loc="outside right upper", frameon=False)
