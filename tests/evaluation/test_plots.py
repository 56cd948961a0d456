"""The plots of a benchmark: what is drawn where, and the same bytes for the same report."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from augment.evaluation.plots import (
    COLOURS,
    FILLS,
    MARKERS,
    editing_figure,
    plots,
    reconstruction_figure,
)
from tests.evaluation.benchmark_rows import BOUND, inversion_row, report


@pytest.fixture(scope="module")
def files():
    return plots(report())


@pytest.fixture(scope="module")
def figure():
    return reconstruction_figure(report(), "seconds_per_image", "seconds per image")


def drawn(axes):
    return {line.get_label(): line for line in axes.lines}


def test_every_plot_is_an_svg_and_a_png(files):
    names = {f"{name}.{kind}" for name in ("psnr_seconds", "psnr_evaluations", "editing") for kind in ("svg", "png")}
    assert set(files) == names
    for name, content in files.items():
        if name.endswith(".png"):
            with Image.open(io.BytesIO(content)) as picture:
                assert picture.format == "PNG" and min(picture.size) > 400


def test_only_what_the_report_has_rows_for_is_plotted():
    assert plots({**report(), "rows": []}).keys() == {"editing.svg", "editing.png"}
    assert "editing.svg" not in plots({k: v for k, v in report().items() if k != "editing"})


def test_every_method_is_named_in_the_text_of_the_svg(files):
    for name in ("psnr_seconds.svg", "psnr_evaluations.svg"):
        text = files[name].decode()
        for label in (
            "ddim",
            "fixed_point",
            "plain_newton",
            "anderson, memory = 2",
            "anderson",
            "warm start: extrapolated",
            "warm start: none",
            "VAE bound",
        ):
            assert f">{label}</text>" in text
    text = files["editing.svg"].decode()
    for label in ("ddim, strength 0.7, guidance 3", "anderson, strength 0.7, guidance 6"):
        assert f">{label}</text>" in text
    assert "clip patch distance" in text


def test_the_same_report_gives_the_same_bytes_without_a_date(files):
    assert plots(report()) == files
    assert b"dc:date" not in files["psnr_seconds.svg"]


def test_one_panel_per_schedule_with_a_dashed_line_at_the_bound(figure):
    panels = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title() for axes in panels] == ["10 steps, ddim", "4 steps, lcm, noise not matched"]
    for axes in panels:
        bound = drawn(axes)["VAE bound"]
        assert bound.get_linestyle() == "--"
        assert list(bound.get_ydata()) == [BOUND, BOUND]


def test_the_budgets_of_a_method_are_one_line_from_cheap_to_dear(figure):
    lines = drawn(figure.axes[0])
    assert list(lines["fixed_point"].get_xdata()) == pytest.approx([1.7 * 0.03, 2.0 * 0.03, 4.0 * 0.03])
    assert list(lines["fixed_point"].get_ydata()) == [28.7, 28.6, 28.9]
    assert list(lines["ddim"].get_ydata()) == [27.0]


def test_the_axis_shows_everything_and_gives_hundredths_below_the_bound_as_much_room_as_decibels(figure):
    axes = figure.axes[0]
    low, high = axes.get_ylim()
    assert low < -3.2 and high > BOUND
    place = axes.transData.transform
    heights = {psnr: place((0.05, psnr))[1] for psnr in (BOUND, 28.95, 28.6, 27.0, -3.2)}
    span = heights[BOUND] - heights[-3.2]
    assert (heights[BOUND] - heights[28.95]) / span > 0.15
    assert (heights[28.95] - heights[28.6]) / span > 0.15
    assert "29.00" in [label.get_text() for label in axes.get_yticklabels()]


def test_no_two_methods_look_alike():
    solvers = [f"solver_{i}" for i in range(len(MARKERS))]
    rows = [inversion_row(s, psnr=20.0 + i, evaluations=1.0 + i) for i, s in enumerate(solvers)]
    rows += [
        inversion_row("solver_0", psnr=20.0, evaluations=1.0, settings={"eta": float(i + 1)})
        for i in range(len(FILLS) - 1)
    ]
    axes = reconstruction_figure({**report(), "rows": rows}, "evaluations_per_step", "evaluations").axes[0]
    looks = [(line.get_color(), line.get_marker(), line.get_fillstyle()) for line in axes.lines[1:]]
    assert len(looks) == len(rows) == len(set(looks))
    assert len({marker for _, marker, _ in looks}) == len(MARKERS) > len(COLOURS)


def test_many_variants_of_one_method_do_not_look_alike_either():
    rows = [inversion_row("anderson", psnr=28.0, evaluations=1.0, settings={"memory": i}) for i in range(12)]
    axes = reconstruction_figure({**report(), "rows": rows}, "evaluations_per_step", "evaluations").axes[0]
    looks = {(line.get_color(), line.get_marker()) for line in axes.lines[1:]}
    assert len(looks) == len({marker for _, marker in looks}) == 12


def test_edits_are_at_their_distance_and_alignment():
    axes = editing_figure(report()).axes[0]
    points = drawn(axes)
    assert len(points["anderson, strength 0.7, guidance 6"].get_xdata()) == 1
    assert points["anderson, strength 0.7, guidance 6"].get_xdata()[0] == 0.28
    assert points["anderson, strength 0.7, guidance 6"].get_ydata()[0] == 0.96
    path = next(line for line in axes.lines if len(line.get_xdata()) == 2)
    assert (list(path.get_xdata()), list(path.get_ydata())) == ([0.25, 0.28], [0.95, 0.96])
