"""How plots look, whatever they show: the same figure gives the same bytes."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator

from matplotlib import style
from matplotlib.figure import Figure

# Okabe & Ito's colours without yellow, which is faint on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LOOK = {
    "svg.fonttype": "none",  # text stays text: smaller, and found by a search
    "svg.hashsalt": "augment",  # the names of an SVG's parts are random otherwise
    "font.size": 9.0,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "savefig.dpi": 150,
}


@contextlib.contextmanager
def plot_look() -> Iterator[None]:
    """Apply our settings to matplotlib's own defaults, whatever the user's matplotlibrc says."""
    with style.context(["default", LOOK]):
        yield


def rendered_plot(figure: Figure, kind: str) -> bytes:
    """Return a figure as a file of a kind, `svg` or `png`, without a date."""
    buffer = io.BytesIO()
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    figure.savefig(buffer, format=kind, metadata=metadata)
    return buffer.getvalue()
