"""The page of a training run: its curves, its tables, and that what comes from outside is escaped."""

from __future__ import annotations

import re
from typing import Any

from augment.report.html import CHART_HEIGHT, CHART_WIDTH
from augment.report.training import LARGEST_MATRIX, chart_of, confusions, training_page

HISTORY = [
    {"step": 10, "loss": 2.0, "val_loss": 1.0, "val_accuracy": 0.25, "val_worst_group": 0.0},
    {"step": 20, "loss": 1.0, "val_loss": 0.5, "val_accuracy": 1.0, "val_worst_group": 0.5},
    {"step": 40, "loss": 0.0, "val_loss": 0.5, "val_accuracy": 0.5, "val_worst_group": 0.5},
]
INTERVAL = {"accuracy": 0.5, "accuracy_low": 0.09, "accuracy_high": 0.91}
LOOK: dict[str, Any] = {
    "n": 2,
    **INTERVAL,
    "loss": 0.7,
    "ece": 0.123,
    "worst_group_name": "place <i>snow</i>",
    "worst_group": 0.0,
    "worst_group_low": 0.0,
    "worst_group_high": 0.79,
    "groups": [{"by": "place", "group": "<i>snow</i>", "n": 2, **INTERVAL}],
    "per_class": [{"group": "<b>fox</b>", "n": 2, **INTERVAL}],
    "confusion": [[1, 1], [0, 0]],
}
REPORT: dict[str, Any] = {
    "config": {"network": {"name": "small_resnet"}, "select_by": "accuracy"},
    "fingerprint": {"data.val.path": "<script>alert(1)</script>"},
    "pictures": {"real": 24, "synthetic": 18, "val": 2, "test": 0},
    "pictures_by_class": {"<b>fox</b>": {"real": 10, "synthetic": 18}, "owl": {"real": 14, "synthetic": 0}},
    "classes": [{"label": 0, "name": "<b>fox</b>"}, {"label": 1, "name": "owl"}],
    "steps": 40,
    "best_step": 20,
    "samples": 80,
    "synthetic_samples": 20,
    "history": HISTORY,
    "val": LOOK,
    "test": None,
}


def test_curves_run_over_the_steps_and_from_the_lower_to_the_upper_edge() -> None:
    chart = chart_of("loss", HISTORY, ("loss", "val_loss"), 0.0)
    assert (chart.low, chart.high, chart.first, chart.last) == (0.0, 2.0, 10, 40)
    h, w = CHART_HEIGHT, CHART_WIDTH
    assert chart.curves[0].points == f"0.0,0.0 {w / 3:.1f},{h / 2:.1f} {w:.1f},{h:.1f}"
    assert chart.curves[1].points == f"0.0,{h / 2:.1f} {w / 3:.1f},{h * 3 / 4:.1f} {w:.1f},{h * 3 / 4:.1f}"
    assert chart_of("share", HISTORY, ("val_accuracy",), 0.0, 1.0).curves[0].points.startswith(f"0.0,{h * 0.75:.1f} ")
    assert chart_of("one", HISTORY[-1:], ("loss",), 0.0).curves[0].points == f"0.0,{h:.1f}"


def test_of_many_classes_the_commonest_confusions_are_listed() -> None:
    n = LARGEST_MATRIX + 1
    matrix = [[0] * n for _ in range(n)]
    matrix[2][7], matrix[7][2], matrix[3][3] = 4, 9, 100
    look = LOOK | {"confusion": matrix}
    page = training_page(REPORT | {"classes": [{"label": i, "name": f"c{i}"} for i in range(n)], "val": look}, b"")
    assert confusions(matrix) == [(9, 7, 2), (4, 2, 7)]
    assert '<tr><td>c7</td><td>c2</td><td class="n">9</td></tr>' in page and "title=" not in page


def test_page_shows_figures_with_their_intervals() -> None:
    page = training_page(REPORT, b"png")
    assert "50.0 % <small>(9.0 to 91.0)</small>" in page
    assert "20 of 80 samples were synthetic" in page and "after step\n20," in page
    assert page.count("<polyline") == 4
    assert page.count('class="n right"') == page.count('class="n wrong"') == 1
    assert 'src="data:image/png;base64,cG5n"' in page
    assert "test by class" not in page and "test by class" in training_page(REPORT | {"test": LOOK}, b"")
    assert "<p>None.</p>" in training_page(REPORT, b"")


def test_page_escapes_what_comes_from_outside_and_loads_nothing() -> None:
    page = training_page(REPORT, b"")
    assert "<script" not in page and "&lt;script&gt;" in page
    assert "<b>fox" not in page and "<i>snow" not in page
    assert not re.search(r'(src|href)="(https?:)?//', page)
