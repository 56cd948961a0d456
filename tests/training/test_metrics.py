"""Figures of predictions against values computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from augment.training.metrics import accuracy_by_group, calibration_error, confusion, measure_predictions

# Four pictures of the classes a, b, b, a; the second and the last are wrong.
PROBABILITIES = np.array([[0.95, 0.05], [0.9, 0.1], [0.38, 0.62], [0.45, 0.55]])
TARGETS = np.array([0, 1, 1, 0])
PLACES = ["snow", "snow", "city", "snow"]


def test_the_figures_of_four_predictions() -> None:
    found = measure_predictions(PROBABILITIES, TARGETS, ("a", "b"), {"place": PLACES})
    assert (found["n"], found["accuracy"]) == (4, 0.5)
    # Wilson 1927: (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n), z = 1.96, n = 4
    assert (found["accuracy_low"], found["accuracy_high"]) == pytest.approx((0.150036, 0.849964), abs=1e-5)
    assert found["loss"] == pytest.approx(-(math.log(0.95) + math.log(0.1) + math.log(0.62) + math.log(0.45)) / 4)
    # each in a bin of its own: (0.05 + 0.9 + 0.38 + 0.55) / 4
    assert found["ece"] == pytest.approx(0.47)
    assert [(r["by"], r["group"], r["n"], r["accuracy"]) for r in found["groups"]] == [
        ("place", "city", 1, 1.0),
        ("place", "snow", 3, pytest.approx(1 / 3)),
    ]
    assert (found["worst_group_name"], found["worst_group"]) == ("place snow", pytest.approx(1 / 3))
    # Of two groups, each exact at 97.5 %: the shares at which one of three or more, and one or fewer, has 0.0125.
    low, high = found["worst_group_low"], found["worst_group_high"]
    assert low == pytest.approx(1 - 0.9875 ** (1 / 3), abs=1e-6)
    assert (1 - high) ** 3 + 3 * high * (1 - high) ** 2 == pytest.approx(0.0125, abs=1e-6)
    assert [(r["group"], r["n"], r["accuracy"]) for r in found["per_class"]] == [("a", 2, 0.5), ("b", 2, 0.5)]
    assert found["confusion"] == [[1, 1], [1, 1]]


def test_the_worst_group_is_that_of_all_divisions() -> None:
    groups = {"place": PLACES, "hour": ["noon", "night", "noon", "noon"]}
    found = measure_predictions(PROBABILITIES, TARGETS, ("a", "b"), groups)
    assert (found["worst_group_name"], found["worst_group"]) == ("hour night", 0.0)


def test_the_calibration_error_is_that_of_guo_2017() -> None:
    right = np.array([True, False])
    assert calibration_error(np.array([0.95, 0.96]), right) == pytest.approx(abs(0.5 - 0.955))  # in one bin
    assert calibration_error(np.array([0.95, 0.55]), right) == pytest.approx((0.05 + 0.55) / 2)  # in two
    assert calibration_error(np.array([1.0, 1.0]), np.array([True, True])) == 0.0
    # A bin is open below and closed above: 2/3 is in the tenth of fifteen, a little more in the next.
    edge = np.array([2 / 3, 2 / 3 + 1e-9])
    assert calibration_error(edge, right) == pytest.approx((1 / 3 + 2 / 3) / 2, abs=1e-6)
    assert calibration_error(np.array([0.61, 2 / 3]), right) == pytest.approx(abs(0.5 - (0.61 + 2 / 3) / 2))
    assert calibration_error(np.array([0.7, 0.6]), right, bins=1) == pytest.approx(abs(0.5 - 0.65))


def test_groups_without_a_picture_have_no_row_and_the_order_is_kept() -> None:
    rows = accuracy_by_group(np.array([True, False, True]), ["b", "a", "b"], ["b", "c", "a"])
    assert [(row["group"], row["n"], row["accuracy"]) for row in rows] == [("b", 2, 1.0), ("a", 1, 0.0)]


def test_confusion_counts_true_classes_in_rows() -> None:
    assert confusion(np.array([0, 0, 2]), np.array([1, 1, 2]), 3) == [[0, 2, 0], [0, 0, 0], [0, 0, 1]]
