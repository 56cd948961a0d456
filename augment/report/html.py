"""The report: one self-contained HTML file with counts, histograms, the contact sheet and the settings."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from augment.report.outcome import decibels


@dataclass(frozen=True)
class Histogram:
    """Counts per bin of a score, of kept and of dropped edits; `edges` has one number more than there are bins."""

    title: str
    edges: Sequence[float]
    accepted: Sequence[int]
    rejected: Sequence[int]


@dataclass(frozen=True)
class Bar:
    """A rectangle of a chart, in the chart's own units."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    hint: str


CHART_WIDTH, CHART_HEIGHT = 480, 160


def stacked_bars(histogram: Histogram) -> list[Bar]:
    """Return rejected edits stacked on accepted ones, as rectangles; the tallest bin is as high as the chart."""
    bins = list(zip(histogram.accepted, histogram.rejected, strict=True))
    unit = CHART_HEIGHT / max(1, max((a + r for a, r in bins), default=0))
    width = CHART_WIDTH / max(1, len(bins))
    bars = []
    for i, (accepted, rejected) in enumerate(bins):
        low, high = histogram.edges[i], histogram.edges[i + 1]
        top = float(CHART_HEIGHT)
        for kind, count in (("accepted", accepted), ("rejected", rejected)):
            if count:
                top -= count * unit
                hint = f"{low:.3g} to {high:.3g}: {count} {kind}"
                bars.append(
                    Bar(round(i * width, 2), round(top, 2), round(width - 1, 2), round(count * unit, 2), kind, hint)
                )
    return bars


def html_report(manifest: Mapping[str, Any], histograms: Sequence[Histogram], sheet: bytes) -> str:
    """Return the report as one HTML page without links to other files.

    Args:
        manifest: the content of `manifest.json`.
        sheet: the contact sheet as PNG; embedded.
    """
    return page_template("report.html.j2").render(
        manifest=manifest,
        decibels=decibels,
        shards=[(name, entry) for name, entry in manifest["files"].items() if name.endswith(".tar")],
        charts=[(h, stacked_bars(h)) for h in histograms],
        sheet=base64.b64encode(sheet).decode(),
        width=CHART_WIDTH,
        height=CHART_HEIGHT,
    )


@lru_cache
def page_template(name: str) -> Template:
    """Return a template of this folder; what it is filled with is escaped, and a name without a value is an error."""
    environment = Environment(
        loader=PackageLoader("augment.report"), autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True
    )
    return environment.get_template(name)
