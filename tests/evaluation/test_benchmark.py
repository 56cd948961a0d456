"""The benchmark job on a few images: the report's fields, and figures that can be counted by hand."""

from __future__ import annotations

import csv
import json

import pytest

from augment.config import load_config
from augment.editing import EditConfig
from augment.errors import ConfigError
from augment.evaluation.benchmark import BenchmarkConfig, run_benchmark
from augment.evaluation.tables import markdown_tables
from augment.inversion import SOLVERS

RELEASED = {"solver": {"name": "rnri_released"}, "stop": {"max_steps": 2, "tolerance": 0.0}}
FILES = {"report.json", "report.csv"} | {
    f"{name}.{kind}" for name in ("psnr_seconds", "psnr_evaluations") for kind in ("svg", "png")
}


def measured(config, folder):
    """The report of a config, which is also what was written."""
    report = run_benchmark(BenchmarkConfig.model_validate(config), folder)
    assert json.loads((folder / "report.json").read_text()) == report
    return report


def read_csv(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("benchmark")


@pytest.fixture(scope="module")
def report(out):
    config = {
        "num_images": 3,
        "batch_size": 2,
        "inversion": {
            "num_steps": [2],
            "repeats": 2,
            "methods": [
                {"solver": {"name": "ddim"}, "warm_start": "none", "stop": {"max_steps": 5, "tolerance": 0.0}},
                {"solver": {"name": "rnri"}, "stop": {"max_steps": 2, "tolerance": 0.0}},
                {"solver": {"name": "anderson"}, "stop": {"max_steps": 2, "first_max_steps": 6, "tolerance": 0.0}},
                {"solver": {"name": "newton_krylov", "krylov_dim": 1}, "stop": {"max_steps": 1, "tolerance": 0.0}},
            ],
        },
        "editing": {
            "settings": {"num_steps": 4, "strength": 0.75, "guidance_scale": 2.0},
            "methods": [
                {"solver": {"name": "anderson"}, "stop": {"max_steps": 1, "first_max_steps": 3, "tolerance": 0.0}},
                {"solver": {"name": "anderson", "memory": 1}, "stop": {"max_steps": 2, "tolerance": 0.0}},
            ],
            "image_to_image": [{"strength": 0.5}],
        },
        "throughput": {
            "num_steps": 1,
            "repeats": 2,
            "batch_sizes": [2, 1],
            "methods": [
                {"solver": {"name": "rnri"}, "stop": {"max_steps": 2, "tolerance": 0.0}},
                RELEASED,
                {"solver": {"name": "anderson"}, "stop": {"max_steps": 2, "tolerance": 0.0}},
            ],
        },
    }
    return measured(config, out)


def test_report_has_the_promised_fields(report):
    assert report["n"] == 3
    assert report["model"] == "embedded"
    assert 20.0 < report["bound_psnr"] < 60.0
    promised = {"solver", "sampler", "num_steps", "evaluations_per_step", "psnr", "seconds_per_image"}
    promised |= {"model", "settings", "match_noise", "max_steps", "first_max_steps", "tolerance", "guidance_scale"}
    promised |= {
        "warm_start",
        "calls",
        "rows",
        "error",
        "forward",
        "jvp",
        "vjp",
        "psnr_p10",
        "gap",
        "latent_error",
        "residual",
        "statuses",
    }
    promised |= {"z_mean", "z_std", "z_autocorrelation", "seconds_min", "seconds_max", "peak_bytes"}
    assert all(promised <= set(row) for row in report["rows"])
    assert {row["model"] for row in report["rows"]} == {"teacher"}


def test_evaluations_are_what_the_limits_say(report):
    ddim, rnri, anderson, krylov = report["rows"]
    counts = [(r["forward"], r["jvp"], r["vjp"]) for r in (ddim, rnri, anderson, krylov)]
    assert counts == [(2, 0, 0), (4, 0, 4), (6 + 2, 0, 0), (2, 2 * 1, 0)]
    assert [r["evaluations_per_step"] for r in report["rows"]] == [1.0, 4.0, 4.0, 2.0]


def test_rows_are_consistent(report):
    for row in report["rows"]:
        assert row["gap"] == pytest.approx(report["bound_psnr"] - row["psnr"])
        assert row["psnr_p10"] <= row["psnr"]
        assert 0 < row["seconds_min"] <= row["seconds_per_image"] <= row["seconds_max"]
        assert row["seconds_per_image"] == pytest.approx((row["seconds_min"] + row["seconds_max"]) / 2)
        assert sum(row["statuses"].values()) == 3
        assert row["match_noise"] is None
        assert abs(row["z_mean"]) < 0.2 and 0.3 < row["z_std"] < 1.5 and abs(row["z_autocorrelation"]) < 0.5
    by_name = {row["solver"]: row for row in report["rows"]}
    assert by_name["anderson"]["psnr"] > by_name["ddim"]["psnr"]
    assert by_name["rnri"]["peak_bytes"] > 3 * by_name["anderson"]["peak_bytes"]


def test_editing_rows_are_shares_of_the_images(report):
    longer, shorter, fresh = report["editing"]
    assert [r["method"] for r in report["editing"]] == ["anderson", "anderson", "image_to_image"]
    assert shorter["solver"] == {"name": "anderson", "memory": 1}
    assert [r["strength"] for r in report["editing"]] == [0.75, 0.75, 0.5]
    for row in (longer, shorter, fresh):
        assert row["n"] == 3
        for name in ("background_reached", "object_kept", "condition_kept"):
            assert row[name] * 3 == pytest.approx(round(row[name] * 3))
        assert row["structure_metric"] == "clip_patch_distance"
        assert 0.0 < row["structure_distance"] < 1.0
        assert row["seconds_per_edit"] > 0.0
    assert longer["text_alignment"] != fresh["text_alignment"]
    # strength 0.75 of four steps: three, the first of which has three iterations
    assert [r["evaluations_per_step"] for r in report["editing"]] == pytest.approx([(3 + 1 + 1) / 3, 2.0, 0.0])


def test_throughput_is_relative_to_the_released_code_one_image_at_a_time(report):
    rows = report["throughput"]
    cells = [(r["solver"], r["batch_size"]) for r in rows]
    assert cells == [(name, size) for name in ("rnri", "rnri_released", "anderson") for size in (2, 1)]
    reference = rows[cells.index(("rnri_released", 1))]
    assert reference["ratio_to_released_batch1"] == 1.0
    for row in rows:
        assert row["images_per_second"] == pytest.approx(1.0 / row["seconds_per_image"])
        ratio = row["images_per_second"] / reference["images_per_second"]
        assert row["ratio_to_released_batch1"] == pytest.approx(ratio)
        assert 0 < row["seconds_min"] <= row["seconds_per_image"] <= row["seconds_max"]
    by_cell = dict(zip(cells, rows, strict=True))
    for size in (1, 2):
        rnri = by_cell["rnri", size]
        assert rnri["peak_bytes_checkpointed"] < 0.6 * rnri["peak_bytes"]
        assert by_cell["anderson", size]["peak_bytes"] < 0.4 * rnri["peak_bytes"]
        assert by_cell["anderson", size]["peak_bytes_checkpointed"] is None
    for solver in ("rnri", "anderson"):
        growth = by_cell[solver, 2]["peak_bytes"] / by_cell[solver, 1]["peak_bytes"]
        assert growth == pytest.approx(2.0, rel=0.2)


@pytest.mark.parametrize(
    ("key", "file"), [("rows", "report.csv"), ("editing", "editing.csv"), ("throughput", "throughput.csv")]
)
def test_csv_says_what_json_says(report, out, key, file):
    written = read_csv(out / file)
    assert len(written) == len(report[key])
    for line, row in zip(written, report[key], strict=True):
        flat = {}
        for name, value in row.items():
            flat |= {f"{name}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {name: value}
        assert set(flat) <= set(line)
        for name, cell in line.items():
            value = flat.get(name)
            expected = "" if value is None else value
            assert cell == expected if isinstance(expected, str) else json.loads(cell) == expected, name


def test_files_are_those_of_the_sections_that_were_measured(report, out):
    names = {path.name for path in out.iterdir()}
    assert names == FILES | {"editing.csv", "throughput.csv", "editing.svg", "editing.png"}
    text = (out / "psnr_evaluations.svg").read_text()
    assert all(f">{name}" in text for name in ("ddim", "rnri", "anderson", "newton_krylov, krylov_dim = 1"))


def test_tables_name_every_method(report):
    text = "\n".join(markdown_tables(report))
    for name in (
        "`ddim` | none | 1 + 1 × 1",
        "`anderson` | extrapolated | 6 + 2 × 1",
        "`newton_krylov, krylov_dim = 1`",
        "image_to_image",
    ):
        assert name in text


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """Samplers that add noise, and one that does not."""
    section = {
        "samplers": ["ddim", "euler_ancestral", "lcm"],
        "num_steps": [4],
        "match_noise": [True, False],
        "noise_maps": True,
        "methods": [{"solver": {"name": "anderson"}, "stop": {"max_steps": 1, "first_max_steps": 4, "tolerance": 0.0}}],
    }
    folder = tmp_path_factory.mktemp("noisy")
    return measured({"num_images": 3, "batch_size": 2, "inversion": section}, folder)


@pytest.mark.slow
def test_matching_the_noise_matters_only_where_there_is_some(noisy):
    found = [(r["sampler"], r["match_noise"]) for r in noisy["rows"]]
    assert found == [("ddim", None)] + [(s, m) for s in ("euler_ancestral", "lcm") for m in (True, False)]
    z_std = {(r["sampler"], r["match_noise"]): r["z_std"] for r in noisy["rows"]}
    # Noise drawn regardless of the image has to be made up for by the start (augment.diffusion.matched_noise).
    for sampler in ("euler_ancestral", "lcm"):
        assert abs(z_std[sampler, True] - 1.0) < abs(z_std[sampler, False] - 1.0)


@pytest.mark.slow
def test_inverted_noise_leads_back_with_samplers_that_add_noise(noisy):
    # The singular last step is solved only as far as its four iterations get; were the added noise not that of the
    # inversion, nothing would be left of the picture.
    assert all(row["psnr"] > 15.0 for row in noisy["rows"])


@pytest.mark.slow
def test_noise_maps_are_reported_apart(noisy):
    maps = noisy["noise_maps"]
    assert [(r["method"], r["sampler"]) for r in maps] == [("edit_friendly", s) for s in ("euler_ancestral", "lcm")]
    for row in maps:
        assert (row["forward"], row["evaluations_per_step"]) == (4, 1.0)
        assert row["gap"] == pytest.approx(noisy["bound_psnr"] - row["psnr"])
        assert 0.8 < row["z_std"] < 1.2  # the start is drawn, not found
        assert row["noise_std"] > 1.0
    assert "anderson" not in {r["method"] for r in maps}


@pytest.mark.slow
def test_the_same_keys_get_the_same_noise(noisy, tmp_path):
    section = {"samplers": ["lcm"], "num_steps": [4], "methods": [{"solver": {"name": "ddim"}}]}
    two = [measured({"num_images": 2, "inversion": section}, tmp_path / str(i))["rows"][0] for i in range(2)]
    timed = {"seconds_per_image", "seconds_min", "seconds_max"}
    assert {k: v for k, v in two[0].items() if k not in timed} == {k: v for k, v in two[1].items() if k not in timed}


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"samplers": ["ddim", "euler_ancestrall"]}, r"samplers 'euler_ancestrall', num_steps 4: .*there are ddim"),
        ({"samplers": ["lcm"], "num_steps": [4, 60]}, r"samplers 'lcm', num_steps 60: num_steps must be in 1\.\.50"),
        ({"noise_maps": True}, r"noise_maps: none of the samplers \(ddim\) adds noise"),
    ],
)
def test_what_the_model_cannot_do_is_said_before_anything_is_measured(tmp_path, section, message):
    section = {"num_steps": [4], "methods": [{"solver": {"name": "ddim"}}], **section}
    with pytest.raises(ConfigError, match=message):
        run_benchmark(BenchmarkConfig.model_validate({"num_images": 1, "inversion": section}), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": [{"solver": {"name": "ddim"}}]}, "methods must have 'rnri_released'"),
        ({"batch_sizes": [4, 16]}, "batch_sizes must be positive and 1 among them"),
        ({"batch_sizes": [0, 1]}, "batch_sizes must be positive and 1 among them"),
    ],
)
def test_throughput_needs_its_reference(changes, message):
    with pytest.raises(ValueError, match=message):
        BenchmarkConfig.model_validate({"throughput": {"methods": [RELEASED], **changes}})


def test_the_shipped_tables_cross_every_solver_with_every_start():
    few = load_config("configs/benchmark/emoji.yaml", BenchmarkConfig).inversion
    many = load_config("configs/benchmark/emoji_50.yaml", BenchmarkConfig).inversion
    assert few.num_steps + many.num_steps == (4, 10, 20, 50)
    crossing = {(m.solver.name, m.warm_start) for m in few.methods}
    assert crossing == {(name, start) for name in SOLVERS for start in ("none", "previous", "extrapolated")}
    assert {(m.solver.name, m.warm_start) for m in many.methods} >= {(n, s) for n, s in crossing if s != "previous"}
    default = EditConfig()
    for section in (few, many):
        first = section.methods[0]
        assert (first.solver, first.warm_start, first.stop) == (default.solver, default.warm_start, default.stop)


def test_the_shipped_student_table_is_of_samplers_that_add_noise():
    config = load_config("configs/benchmark/emoji_lcm.yaml", BenchmarkConfig)
    assert config.model.name == "embedded-lcm"
    assert (config.inversion.samplers, config.inversion.num_steps) == (("euler_ancestral", "lcm"), (4,))


def test_the_shipped_throughput_table_compares_with_the_released_code():
    config = load_config("configs/benchmark/throughput.yaml", BenchmarkConfig)
    names = [m.solver.name for m in config.throughput.methods]
    assert names == ["rnri_released", "rnri", "anderson"]
    assert config.throughput.batch_sizes == (1, 4, 16, 64)
