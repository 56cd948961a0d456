"""The report of a training run: one self-contained HTML file with curves, tables and the pictures it got wrong."""

from __future__ import annotations

import base64
import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from augment.report.html import CHART_HEIGHT, CHART_WIDTH, page_template

LARGEST_MATRIX = 50  # classes: the matrix of more is millions of cells, so the commonest confusions are listed
CONFUSIONS_SHOWN = 50


@dataclass(frozen=True)
class Curve:
    """One line of a chart: its name, and its points in the chart's own units, as SVG has them."""

    name: str
    points: str


@dataclass(frozen=True)
class Chart:
    """Some curves over one range of steps; `low` and `high` are the values at the chart's lower and upper edge."""

    title: str
    curves: tuple[Curve, ...]
    low: float
    high: float
    first: int
    last: int


def chart_of(
    title: str, history: Sequence[Mapping[str, Any]], names: Sequence[str], low: float, high: float | None = None
) -> Chart:
    """Return some columns of a history against its steps; without `high` the largest value is the upper edge."""
    values = [float(row[name]) for row in history for name in names]
    top = high if high is not None else max(values)
    first, last = history[0]["step"], history[-1]["step"]

    def point(step: int, value: float) -> str:
        x = CHART_WIDTH * (step - first) / max(1, last - first)
        y = CHART_HEIGHT * (1 - (value - low) / ((top - low) or 1.0))
        return f"{x:.1f},{y:.1f}"

    curves = tuple(Curve(name, " ".join(point(row["step"], row[name]) for row in history)) for name in names)
    return Chart(title, curves, low, top, first, last)


def confusions(matrix: Sequence[Sequence[int]], shown: int = CONFUSIONS_SHOWN) -> list[tuple[int, int, int]]:
    """Return how often a class was taken for another, with the places of both, the commonest first; of equals in order.

    Args:
        matrix: counts, a row for each true class and a column for each predicted one.
    """
    found = [
        (count, true, predicted)
        for true, row in enumerate(matrix)
        for predicted, count in enumerate(row)
        if count and predicted != true
    ]
    return heapq.nsmallest(shown, found, key=lambda c: (-c[0], c[1], c[2]))


def training_page(report: Mapping[str, Any], sheet: bytes) -> str:
    """Return the report of a training run as one HTML page without links to other files.

    Args:
        report: the content of its `report.json`.
        sheet: the pictures that it got wrong, as PNG; embedded. b"" if there are none.
    """
    history = report["history"]
    charts = [
        chart_of("cross-entropy", history, ("loss", "val_loss"), 0.0),
        chart_of("share right", history, ("val_accuracy", "val_worst_group"), 0.0, 1.0),
    ]
    return page_template("training.html.j2").render(
        report=report,
        looks=[(name, report[name]) for name in ("val", "test") if report[name]],
        confused={name: confusions(report[name]["confusion"]) for name in ("val", "test") if report[name]},
        largest=LARGEST_MATRIX,
        charts=charts,
        sheet=base64.b64encode(sheet).decode(),
        width=CHART_WIDTH,
        height=CHART_HEIGHT,
    )
