"""The benchmark job on a few images: the report's fields, and figures that can be counted by hand."""

from __future__ import annotations

import json

import pytest

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
                    {"solver": {"name": "rnri"}, "stop": {"max_steps": 2, "first_max_steps": 0}},
                    {"solver": {"name": "rnri_secant"}, "stop": {"max_steps": 2, "first_max_steps": 6}},
                ],
            },
            "editing": {
                "settings": {"num_steps": 4, "strength": 0.75, "guidance_scale": 2.0},
                "methods": [{"solver": {"name": "rnri_secant"}, "stop": {"max_steps": 1, "first_max_steps": 3}}],
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
    secant, fresh = report["editing"]
    assert (secant["method"], fresh["method"]) == ("rnri_secant", "image_to_image")
    for row in (secant, fresh):
        assert row["n"] == 6
        for name in ("background_reached", "object_kept", "condition_kept"):
            assert row[name] * 6 == pytest.approx(round(row[name] * 6))
    assert secant["source_similarity"] > 0
