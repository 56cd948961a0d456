"""The study's report as a plot. Plain data in, bytes out."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from augment.report.plot_style import COLOURS, plot_look, rendered_plot
from augment.study.arms import ARMS, MIX

Row = Mapping[str, Any]
DRAWN = {"accuracy": ("o", COLOURS[0], -0.14), "worst_group": ("s", COLOURS[1], 0.14)}  # marker, colour, place


def study_plots(report: Row) -> dict[str, bytes]:
    """Return the plots by file name, each as SVG and PNG."""
    with plot_look():
        figures = {"study": study_figure(report)}
        if report["budget"]:
            figures["budget"] = budget_figure(report)
        return {f"{name}.{kind}": rendered_plot(f, kind) for name, f in figures.items() for kind in ("svg", "png")}


def study_figure(report: Row) -> Figure:
    """Draw accuracy and worst group of every arm with their 95 % intervals, a panel for each track."""
    tracks = list(report["tracks"])
    arms = list(dict.fromkeys(row["arm"] for row in report["rows"]))
    columns = min(len(tracks), math.ceil(math.sqrt(len(tracks))) + 1)
    lines = math.ceil(len(tracks) / columns)
    figure = Figure(figsize=(1.8 + 2.8 * columns, (1.2 + 0.26 * len(arms)) * lines), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True)
    for axes in grid.flat[len(tracks) :]:
        axes.set_axis_off()
    for axes, track in zip(grid.flat, tracks, strict=False):
        rows = [row for row in report["rows"] if row["track"] == track]
        for measure, (marker, colour, shift) in DRAWN.items():
            values = [100 * row[measure] for row in rows]
            low = [100 * (row[measure] - row[f"{measure}_low"]) for row in rows]
            high = [100 * (row[f"{measure}_high"] - row[measure]) for row in rows]
            places = [arms.index(row["arm"]) + shift for row in rows]
            label = measure.replace("_", " ")
            axes.errorbar(values, places, xerr=[low, high], fmt=marker, color=colour, markersize=4, label=label)
        axes.set(title=track, xlim=(-2, 102), xlabel="%, 95 % intervals")
        axes.set_yticks(range(len(arms)), arms)
        axes.set_ylim(len(arms) - 0.5, -0.5)
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", frameon=False, ncols=2)
    return figure


def budget_figure(report: Row) -> Figure:
    """Draw accuracy against the number of edits with 95 % intervals, a line for each arm, a panel for each track."""
    tracks = list(dict.fromkeys(row["track"] for row in report["budget"]))
    arms = list(dict.fromkeys(row["arm"] for row in report["budget"]))
    figure = Figure(figsize=(1.0 + 3.4 * len(tracks), 3.2), layout="constrained")
    for axes, track in zip(figure.subplots(1, len(tracks), squeeze=False).flat, tracks, strict=True):
        rows = [row for row in [*report["budget"], *report["rows"]] if row["track"] == track]
        for colour, arm in zip(itertools.cycle(COLOURS), arms, strict=False):
            points = sorted((row for row in rows if row["arm"] == arm), key=lambda row: row["edits"])
            edits, values = [row["edits"] for row in points], [100 * row["accuracy"] for row in points]
            low = [100 * (row["accuracy"] - row["accuracy_low"]) for row in points]
            high = [100 * (row["accuracy_high"] - row["accuracy"]) for row in points]
            axes.errorbar(edits, values, yerr=[low, high], fmt="o-", color=colour, markersize=4, label=arm)
        alike = {ARMS[arm].augmentation for arm in arms}
        for row in rows:
            arm = ARMS[row["arm"]]
            if arm.maker in (None, "oracle") and arm.recipe == MIX and arm.augmentation in alike:  # floor and ceiling
                axes.axhline(100 * row["accuracy"], color="grey", linestyle="--" if arm.maker else ":")
                place = (1.0, 100 * row["accuracy"])
                axes.annotate(
                    row["arm"], place, (0, 2), ("axes fraction", "data"), "offset points", ha="right", va="bottom"
                )
        axes.set_xscale("log")
        numbers = sorted({row["edits"] for row in rows if row["arm"] in arms})
        axes.set_xticks(numbers, [f"{number:,}" for number in numbers])
        axes.minorticks_off()
        axes.margins(y=0.1)
        axes.set(title=track, xlabel="edits", ylabel="accuracy, %, 95 % intervals")
        axes.legend(frameon=False)
    return figure
