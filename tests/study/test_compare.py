"""Rows and paired differences with known ends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from augment.scoring.intervals import Estimate, lowest_share_of, mean_of, share_of
from augment.study.compare import StudyRun, differences_of, intervals_over, row_of, worst_group_of
from augment.study.config import ArmName
from augment.study.plot import budget_figure, study_plots
from augment.study.tables import study_table

OUT = Path("/out")
# Two groups of four pictures, and two classes across them.
MEMBERS = np.array([[1, 1, 1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1, 1, 1], [1, 0] * 4, [0, 1] * 4], bool)


def run_of(arm: ArmName, seed: int, right: list[int]) -> StudyRun:
    """A run with these right predictions of eight pictures, and the figures that training would report."""
    hits = np.array(right, bool)
    worst = lowest_share_of([hits[group].tolist() for group in MEMBERS])
    accuracy = share_of(hits.tolist())
    test = {**accuracy.named("accuracy"), **worst.named("worst_group"), **accuracy.named("corrupted")}
    return StudyRun("bias_95", arm, seed, OUT / f"runs/bias_95/{arm}/seed-{seed}", test, hits)


def test_one_seed_has_the_intervals_of_the_test_pictures() -> None:
    row = row_of([run_of("none", 0, [1, 1, 1, 1, 1, 0, 0, 0])], 0, None, OUT)
    assert (row["track"], row["arm"], row["seeds"], row["edits"]) == ("bias_95", "none", 1, 0)
    assert row["intervals_over"] == "pictures" and row["runs"] == ["runs/bias_95/none/seed-0"]
    assert [row[f"label_true{end}"] for end in ("", "_low", "_high")] == [None] * 3
    accuracy = share_of([True] * 5 + [False] * 3)
    worst = lowest_share_of([[True] * 4, [True] + [False] * 3, [True, True, True, False], [True, True, False, False]])
    assert {k: row[k] for k in accuracy.named("accuracy")} == pytest.approx(accuracy.named("accuracy"))
    assert {k: row[k] for k in worst.named("worst_group")} == pytest.approx(worst.named("worst_group"))


def test_three_seeds_have_students_interval_where_that_over_the_pictures_is_narrower() -> None:
    rights = ([1] * 4 + [0] * 4, [1] * 5 + [0] * 3, [1] * 6 + [0] * 2)
    runs = [run_of("default", seed, right) for seed, right in enumerate(rights)]
    row = row_of(runs, 640, Estimate(0.9, 0.8, 0.95), OUT)
    assert row["intervals_over"] == intervals_over(runs) == "seeds and pictures" and row["seeds"] == 3
    assert (row["label_true"], row["label_true_low"], row["label_true_high"]) == (0.9, 0.8, 0.95)
    half = 4.303 * 0.125 / 3**0.5  # the standard deviation of 4/8, 5/8, 6/8 is 1/8
    assert row["accuracy"] == 5 / 8
    over_pictures = [share_of([True] * n + [False] * (8 - n)) for n in (4, 5, 6)]
    low, high = (np.mean([getattr(share, end) for share in over_pictures]) for end in ("low", "high"))
    assert low < 5 / 8 - half and high < 5 / 8 + half
    assert (row["accuracy_low"], row["accuracy_high"]) == pytest.approx((low, 5 / 8 + half), abs=1e-4)
    assert row["worst_group"] == pytest.approx((0 + 0.25 + 0.5) / 3) and row["worst_group_low"] == 0  # no share is less


def test_seeds_that_agree_make_no_figure_certain() -> None:
    row = row_of([run_of("oracle", seed, [1] * 8) for seed in range(3)], 0, None, OUT)
    assert row["accuracy"] == 1 and row["accuracy_low"] == pytest.approx(share_of([True] * 8).low)


def test_differences_pair_the_seeds() -> None:
    """Every seed of one arm is one picture better, each another one."""
    better = [run_of("default", s, [1] * (3 + s) + [0] * (5 - s)) for s in range(3)]
    worse = [run_of("text_to_image", s, [1] * (2 + s) + [0] * (6 - s)) for s in range(3)]
    rows = differences_of([*better, *worse], MEMBERS)
    assert [(r["arm"], r["against"], r["measure"]) for r in rows] == [
        ("default", "text_to_image", "accuracy"),
        ("default", "text_to_image", "worst_group"),
    ]
    pictures = mean_of([0, 0, 1 / 3, 1 / 3, 1 / 3, 0, 0, 0])  # the seeds agree
    assert [rows[0][f"difference{end}"] for end in ("", "_low", "_high")] == pytest.approx(
        [pictures.value, pictures.low, pictures.high]
    )
    assert rows[0]["intervals_over"] == "seeds and pictures"


def test_differences_pair_the_pictures_where_seeds_are_few() -> None:
    one, other = [1, 1, 1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 0, 0, 0, 0]
    rows = differences_of([run_of("none", 0, other), run_of("default", 0, one)], MEMBERS)
    accuracy, worst = rows
    expected = mean_of([0, 0, 0, 0, 1, 1, 0, 0])
    assert [accuracy[f"difference{end}"] for end in ("", "_low", "_high")] == pytest.approx(
        [expected.value, expected.low, expected.high]
    )
    assert accuracy["intervals_over"] == "pictures"
    assert worst["difference"] == 0.5 and 0 <= worst["difference_low"] < 0.5 < worst["difference_high"] <= 1
    same = differences_of([run_of("none", 0, one), run_of("default", 0, one)], MEMBERS)
    assert {r[f"difference{end}"] for r in same for end in ("", "_low", "_high")} == {0}


def test_runs_of_other_seeds_are_no_pairs() -> None:
    with pytest.raises(AssertionError):
        differences_of([run_of("none", 0, [1] * 8), run_of("default", 1, [1] * 8)], MEMBERS)


def test_an_arm_is_compared_with_those_that_have_its_augmentation() -> None:
    arms: tuple[ArmName, ...] = (
        "none",
        "flips_crops",
        "image_to_image",
        "default",
        "image_to_image_flips_crops",
        "default_flips_crops",
        "default_trivial_augment",
        "default_two_stage_flips_crops",
        "rand_augment",
        "oracle",
    )
    rows = differences_of([run_of(arm, 0, [1] * 6 + [0] * 2) for arm in arms], MEMBERS)
    pairs = {(row["arm"], row["over"]): row["against"] for row in rows}
    assert pairs == {
        ("none", "image_to_image"): "image_to_image",
        ("flips_crops", "nothing_made"): "none",
        ("flips_crops", "image_to_image"): "image_to_image_flips_crops",
        ("image_to_image", "nothing_made"): "none",
        ("default", "nothing_made"): "none",
        ("default", "image_to_image"): "image_to_image",
        ("image_to_image_flips_crops", "nothing_made"): "flips_crops",
        ("default_flips_crops", "nothing_made"): "flips_crops",
        ("default_flips_crops", "image_to_image"): "image_to_image_flips_crops",
        ("default_two_stage_flips_crops", "nothing_made"): "flips_crops",
        ("default_two_stage_flips_crops", "image_to_image"): "image_to_image_flips_crops",
        ("rand_augment", "nothing_made"): "none",
        ("oracle", "nothing_made"): "none",
        ("oracle", "image_to_image"): "image_to_image",
    }


def test_the_worst_group_is_that_of_the_pictures_that_count() -> None:
    right = np.array([1, 1, 1, 0, 0, 1, 0, 0], bool)
    weights = np.array([[1] * 8, [1] * 4 + [0] * 4, [0, 0, 0, 2, 0, 2, 0, 0]], float)
    assert worst_group_of(right, MEMBERS, weights).tolist() == pytest.approx([0.25, 0.5, 0.0])


def test_table_and_plot_show_every_arm_and_their_bytes_repeat() -> None:
    runs = [run_of("none", 0, [1] * 4 + [0] * 4), run_of("text_to_image", 0, [1] * 6 + [0] * 2)]
    rows = [row_of(runs[:1], 0, None, OUT), row_of(runs[1:], 64, Estimate(0.5, 0.4, 0.6), OUT)]
    fewer = row_of([run_of("text_to_image", 0, [1] * 5 + [0] * 3)], 16, Estimate(0.5, 0.4, 0.6), OUT)
    report = {
        "model": "embedded",
        "revision": "abc",
        "tracks": {"bias_95": {}},
        "rows": rows,
        "differences": differences_of(runs, MEMBERS),
        "budget": [fewer],
    }
    text = study_table(report)
    assert "## bias_95" in text and "1 seeds, intervals over pictures" in text
    assert "| `none` | 0 |  | 50.0 (21.5 to 78.5) |" in text
    assert "| `text_to_image` | 64 | 50.0 (40.0 to 60.0) | 75.0 (40.9 to 92.9) |" in text
    assert "| +25.0 (" in text
    plots = study_plots(report)
    assert "## bias_95: fewer edits" in text and "| `text_to_image` | 16 | 50.0 (40.0 to 60.0) | 62.5 (" in text
    assert set(plots) == {"study.svg", "study.png", "budget.svg", "budget.png"} and study_plots(report) == plots
    for name in ("study.svg", "budget.svg"):
        assert b"bias_95" in plots[name] and b"text_to_image" in plots[name]
    assert set(study_plots({**report, "budget": []})) == {"study.svg", "study.png"}


def test_the_curve_has_the_floor_and_the_ceiling_of_its_augmentation() -> None:
    arms: tuple[ArmName, ...] = ("none", "flips_crops", "default_flips_crops", "oracle", "oracle_flips_crops")
    rows = [row_of([run_of(arm, 0, [1] * 6 + [0] * 2)], 8, None, OUT) for arm in arms]
    fewer = row_of([run_of("default_flips_crops", 0, [1] * 5 + [0] * 3)], 4, None, OUT)
    (axes,) = budget_figure({"rows": rows, "budget": [fewer]}).axes
    assert [text.get_text() for text in axes.texts] == ["flips_crops", "oracle_flips_crops"]
