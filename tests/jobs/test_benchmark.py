"""The benchmark job on a few images: the report's fields, and figures that can be counted by hand."""

from __future__ import annotations

import json

import pytest

from augment.config import load_config
from jobs.benchmark import BenchmarkConfig, run


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmark")
    config = BenchmarkConfig.model_validate(
        {
            "num_images": 6,
            "batch_size": 4,
            "inversion": {
                "num_steps": [4],
                "repeats": 2,
                "methods": [
                    {"solver": {"name": "ddim"}, "stop": {"max_steps": 5}},
                    {"solver": {"name": "rnri"}, "stop": {"max_steps": 2}},
                    {"solver": {"name": "rnri_secant"}, "stop": {"max_steps": 2, "first_max_steps": 6}},
                ],
            },
            "editing": {
                "settings": {"num_steps": 4, "strength": 0.75, "guidance_scale": 2.0},
                "methods": [
                    {"solver": {"name": "rnri_secant"}, "stop": {"max_steps": 1, "first_max_steps": 3}},
                    {"solver": {"name": "rnri_secant", "prior_weight": 0.0}},
                ],
                "image_to_image": [{"strength": 0.5}],
            },
        }
    )
    returned = run(config, folder)
    assert json.loads((folder / "report.json").read_text()) == returned
    return returned


def test_report_has_the_promised_fields(report):
    assert report["n"] == 6
    assert 20.0 < report["bound_psnr"] < 60.0
    promised = {"solver", "sampler", "num_steps", "evaluations_per_step", "psnr", "seconds_per_image"}
    assert all(promised <= set(row) for row in report["rows"])


def test_evaluations_are_what_the_limits_say(report):
    ddim, rnri, secant = report["rows"]
    assert (ddim["forward"], ddim["vjp"]) == (4, 0)
    assert (rnri["forward"], rnri["vjp"]) == (8, 8)
    assert secant["forward"] == 6 + 3 * 2
    assert [r["evaluations_per_step"] for r in report["rows"]] == [1.0, 4.0, 3.0]


def test_rows_are_consistent(report):
    for row in report["rows"]:
        assert row["gap"] == pytest.approx(report["bound_psnr"] - row["psnr"])
        assert row["psnr_p10"] <= row["psnr"]
        assert row["seconds_per_image"] > 0
        assert sum(row["statuses"].values()) == 6
    by_name = {row["solver"]: row["psnr"] for row in report["rows"]}
    assert by_name["rnri_secant"] > by_name["ddim"]


def test_editing_rows_are_shares_of_the_images(report):
    secant, without_prior, fresh = report["editing"]
    assert [r["method"] for r in report["editing"]] == ["rnri_secant", "rnri_secant", "image_to_image"]
    assert without_prior["solver"] == {"name": "rnri_secant", "prior_weight": 0.0}
    assert [r["strength"] for r in report["editing"]] == [0.75, 0.75, 0.5]
    for row in (secant, without_prior, fresh):
        assert row["n"] == 6
        for name in ("background_reached", "object_kept", "condition_kept"):
            assert row[name] * 6 == pytest.approx(round(row[name] * 6))
    assert secant["text_alignment"] != fresh["text_alignment"]


def test_only_the_secant_rows_of_the_shipped_table_have_an_uneven_budget():
    config = load_config("configs/benchmark/emoji.yaml", BenchmarkConfig)
    published = config.inversion.methods[:5]
    assert [m.solver["name"] for m in published] == ["ddim", "fixed_point", "rnri", "rnri_released", "rnri_secant"]
    assert [(m.stop.max_steps, m.stop.first_max_steps) for m in published] == [(1, 0), (2, 0), (2, 0), (2, 0), (1, 8)]
