"""Means, the Pareto front and the rule, on rows made by hand."""

from __future__ import annotations

import pytest

from augment.editing.config import Setting
from augment.run.tune_choice import SettingRow, pareto_front, recommended, setting_row
from augment.scoring.intervals import Estimate


def row(strength: float, label: float, target: float, distance: float, half: float = 0.02) -> SettingRow:
    def about(value: float) -> Estimate:
        return Estimate(value, value - half, value + half)

    return SettingRow(Setting(strength, 3.0), 1, about(label), about(target), about(distance), about(0.0), edits=2)


def scores(label: float, target: float, similarity: float, distance: float) -> dict[str, float]:
    return {
        "label_probability": label,
        "text_alignment": target,
        "source_similarity": similarity,
        "patch_distance": distance,
    }


IMAGES = [
    [scores(0.9, 0.2, 0.5, 0.1), scores(0.5, 0.4, 0.7, 0.3)],
    [scores(0.4, 0.5, 0.8, 0.4), scores(0.8, 0.7, 0.8, 0.6)],
]


def test_a_row_has_shares_of_edits_and_means_of_images() -> None:
    made = setting_row(Setting(0.7, 3.0), 7, IMAGES, 0.5)
    assert made.label_kept.value == 0.75  # three of four, 0.5 itself being enough
    assert (made.label_kept.low, made.label_kept.high) == pytest.approx((0.300642, 0.954413), abs=1e-6)  # Wilson
    # The images' means are 0.3 and 0.6: mean 0.45, standard error 0.15.
    assert made.target_reached.value == pytest.approx(0.45)
    assert made.target_reached.low == pytest.approx(0.45 - 1.959964 * 0.15)
    assert made.source_similarity.value == pytest.approx(0.7)
    assert made.patch_distance.value == pytest.approx(0.35)
    assert made.edits == 4
    shown = made.as_dict()
    assert (shown["strength"], shown["guidance_scale"], shown["steps"], shown["edits"]) == (0.7, 3.0, 7, 4)
    assert shown["target_reached_high"] == pytest.approx(0.45 + 1.959964 * 0.15)


def test_without_a_threshold_the_label_is_the_mean_probability() -> None:
    assert setting_row(Setting(0.7, 3.0), 7, IMAGES, None).label_kept.value == pytest.approx(0.65)


def test_the_rule_is_target_then_label_then_structure() -> None:
    rows = [
        row(0.4, 1.0, 0.20, 0.1),  # keeps every label and all of the structure, because it changes little
        row(0.5, 0.95, 0.49, 0.3),  # within the interval of the best, but loses the label more often than the next two
        row(0.6, 0.985, 0.48, 0.4),  # within the interval and within a point of the label
        row(0.7, 0.99, 0.50, 0.5),  # reaches most
    ]
    assert recommended(rows).setting.strength == 0.6
    assert recommended([row(0.4, 1.0, 0.20, 0.1), row(0.7, 0.5, 0.50, 0.5)]).setting.strength == 0.7
    assert recommended(rows[:1]) is rows[0]
    # A point exactly is within it; more is not.
    point = [row(0.5, 0.97, 0.50, 0.3), row(0.6, 0.98, 0.50, 0.4)]
    assert recommended(point).setting.strength == 0.5
    assert recommended([row(0.5, 0.969, 0.50, 0.3), point[1]]).setting.strength == 0.6
    # A narrower interval leaves the best alone.
    narrow = [row(0.5, 1.0, 0.39, 0.3, half=0.005), row(0.6, 1.0, 0.40, 0.4, half=0.005)]
    assert recommended(narrow).setting.strength == 0.6
    # Equally near to the source: the one that reaches more, by which the other is dominated.
    equal = [row(0.5, 1.0, 0.39, 0.3), row(0.6, 1.0, 0.40, 0.3)]
    assert recommended(equal).setting.strength == 0.6
    assert all(recommended(some) in pareto_front(some) for some in (rows, point, narrow, equal))


def test_the_front_has_every_row_that_no_other_dominates() -> None:
    rows = [
        row(0.4, 1.0, 0.2, 0.1),
        row(0.5, 1.0, 0.3, 0.2),
        row(0.6, 1.0, 0.3, 0.3),  # as good as the one before in two, worse in one
        row(0.7, 0.9, 0.4, 0.4),
        row(0.8, 0.9, 0.4, 0.4),  # its equal: neither dominates
        row(0.9, 0.8, 0.3, 0.5),  # worse in all three
    ]
    assert [r.setting.strength for r in pareto_front(rows)] == [0.4, 0.5, 0.7, 0.8]
