"""The sweep of the embedded model at toy size, through the command line: what it prints, writes and leaves alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.invoke import answer, invoke
from tests.run.runs import CONFIG
from tests.variants import variants

TOY = """# a toy
input: {path: embedded:train, format: webdataset, image_size: 64}
output:
  path: %s
prompts: %s
editing:  # what tune may change
  num_steps: 2
  strength: 0.5   # the first guess
run: {executor: local, batch_size: 2}
"""
ARGUMENTS = ("--images", 3, "--strengths", "0.5,0.6,1", "--guidance", "1,3")


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tune")
    config = folder / "job.yaml"
    config.write_text(TOY % (folder / "out", CONFIG.parents[1] / "prompts" / "emoji.yaml"))
    return config


def test_the_sweep_is_reported_and_the_config_left_alone_until_it_is_asked_for(job: Path) -> None:
    before = job.read_bytes()
    report = answer("tune", job, *ARGUMENTS)
    assert job.read_bytes() == before
    # 0.5 and 0.6 both take one step of two: one setting.
    settings = [(row["strength"], row["guidance_scale"], row["steps"]) for row in report["rows"]]
    assert settings == [(0.5, 1.0, 1), (0.5, 3.0, 1), (1.0, 1.0, 2), (1.0, 3.0, 2)]
    assert {row["edits"] for row in report["rows"]} == {6}
    recommended = report["recommended"]
    of_it = next(r for r in report["rows"] if recommended.items() <= r.items())
    assert of_it["on_front"]
    near, far = report["rows"][0], report["rows"][3]
    assert near["source_similarity"] > far["source_similarity"]
    assert near["patch_distance"] < far["patch_distance"]
    assert (report["images"], report["skipped"], report["written"]) == (3, {}, False)
    out = job.parent / "out" / "tune"
    stored = json.loads((out / "report.json").read_text())
    assert stored == {name: value for name, value in report.items() if name != "written"}
    with Image.open(out / "contact_sheet.png") as sheet:
        front = sum(row["on_front"] for row in report["rows"])
        assert sheet.width == 10 + 138 * (1 + front)
    # The grid is what is asked for, so this run has to choose the other setting.
    written = answer("tune", job, "--images", 2, "--strengths", "1", "--guidance", "2.5", "--write")
    assert written["recommended"] == {"strength": 1.0, "guidance_scale": 2.5}
    assert written["written"]
    wanted = before.replace(b"  strength: 0.5   # the", b"  strength: 1.0   # the")
    assert job.read_bytes() == wanted.replace(b"change\n", b"change\n  guidance_scale: 2.5\n")


@pytest.mark.parametrize(
    "kept", variants([[], ["-o", "editing.preserve=attention", "-o", "editing.self_replace_steps=1.0"]], kept=[[]])
)
def test_scores_are_those_of_a_run(job: Path, tmp_path: Path, kept: list[str]) -> None:
    """The run over the same images keeps its scores in the index; their means are those of the sweep."""
    overrides = (*kept, "-o", f"output.path={tmp_path}", "-o", "input.limit=2", "-o", "variants_per_image=2")
    same = (*overrides, "-o", "editing.strength=0.5", "-o", "editing.guidance_scale=3.0")
    report = answer("tune", job, "--images", 2, "--strengths", "0.5", "--guidance", "3", *same)
    answer("expand", job, *same)
    import pyarrow.parquet as pq

    index = pq.read_table(tmp_path / "index.parquet").to_pydict()
    (row,) = report["rows"]
    assert row["target_reached"] == pytest.approx(sum(index["text_alignment"]) / 4, abs=1e-6)
    assert row["source_similarity"] == pytest.approx(sum(index["source_similarity"]) / 4, abs=1e-6)
    assert row["label_kept"] == sum(p >= 0.5 for p in index["label_probability"]) / 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--strengths", "0.5,1.2"), "--strengths 0.5,1.2: must be numbers above 0 and at most 1"),
        (("--strengths", "0"), "above 0"),
        (("--strengths", "a"), "--strengths a: must be numbers"),
        (("--guidance", "0.5"), "--guidance 0.5: must be numbers of at least 1"),
        (("--guidance", "inf"), "of at least 1"),
        (("--guidance", ""), "of at least 1"),
    ],
)
def test_a_grid_that_cannot_be_is_an_error(job: Path, arguments: tuple[str, ...], message: str) -> None:
    result = invoke("tune", job, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_config_that_cannot_be_written_into_is_refused_before_any_work(job: Path, tmp_path: Path) -> None:
    flow = tmp_path / "flow.yaml"
    flow.write_text(job.read_text().split("editing:")[0] + "editing: {num_steps: 2}\n")
    result = invoke("tune", flow, "--write")
    assert result.exit_code == 2
    assert "editing is in flow style" in result.stderr
    result = invoke("tune", "--data", "embedded:train", "--write")
    assert result.exit_code == 2
    assert "--write needs a config file" in result.stderr
    assert not (tmp_path / "out").exists()


def test_images_that_cannot_be_read_are_left_out_and_too_few_are_an_error(job: Path, tmp_path: Path) -> None:
    for name in ("fox", "bus"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "1.png").write_bytes(b"no picture")
    Image.new("RGB", (64, 64), "green").save(tmp_path / "data" / "fox" / "1.png")
    data = (
        "-o",
        f"input.path={tmp_path / 'data'}",
        "-o",
        "input.format=imagefolder",
        "-o",
        f"output.path={tmp_path}/o",
    )
    result = invoke("tune", job, *data, "--strengths", "0.5", "--guidance", "1")
    assert result.exit_code == 2
    assert "1 of 2 images could be edited" in result.stderr
    assert "bus" in result.stderr
