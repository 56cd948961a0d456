"""Bad input: a clear message, the documented exit code, no traceback, and nothing started."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from augment.errors import AugmentError
from augment.run.validate import validate
from augment.storage.tar import write_tar
from tests.cli.invoke import invoke, options
from tests.run.runs import (
    CONFIG,
    ROOT,
    call,
    command,
    overrides,
)


def expand(out: Path, *more: str) -> Any:
    return invoke("expand", CONFIG, *options(out, *more))


def refused(result: Any, *words: str) -> None:
    assert (result.exit_code, result.stdout) == (AugmentError.exit_code, ""), result.stderr
    assert result.stderr.startswith("error: ")
    for word in words:
        assert word in result.stderr


def test_missing_input(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    refused(expand(tmp_path / "out", f"input.path={missing}", "input.format=imagefolder"), str(missing))
    assert not (tmp_path / "out").exists()


def test_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    result = expand(tmp_path / "out", f"input.path={tmp_path / 'data'}", "input.format=imagefolder")
    refused(result, f"no image in {tmp_path / 'data'}")
    assert not (tmp_path / "out").exists()


def test_a_folder_without_images(tmp_path: Path) -> None:
    (tmp_path / "data" / "fox").mkdir(parents=True)
    (tmp_path / "data" / "fox" / "notes.txt").write_text("nothing here")
    result = expand(tmp_path / "out", f"input.path={tmp_path / 'data'}", "input.format=imagefolder")
    refused(result, f"no image in {tmp_path / 'data'}")


def test_unknown_keys_are_all_named_with_file_and_nearest_match(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(f"extends: {CONFIG}\nrun:\n  num_worker: 3\nseeds: 1\noutput:\n  max_shard_samples: -1\n")
    result = invoke("expand", bad, "-o", f"output.path={tmp_path / 'out'}")
    refused(result, str(bad), "run.num_worker", "num_workers", "seeds", "seed", "output.max_shard_samples", "-1")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["validate", "plan", "preview", "expand"])
def test_missing_config(tmp_path: Path, name: str) -> None:
    refused(invoke(name, tmp_path / "none.yaml"), f"{tmp_path / 'none.yaml'}: no such file")


def test_a_clip_model_that_is_not_there(tmp_path: Path) -> None:
    for clip, reason in [("owner/clip", "neither a folder nor cached"), (tmp_path, "no config.json"), ("a", "no such")]:
        refused(expand(tmp_path / "out", f"clip.name={clip}"), f"clip.name {str(clip)!r}", reason)
        (problem,) = validate(CONFIG, [f"clip.name={clip}", f"output.path={tmp_path / 'out'}"]).problems
        assert reason in problem
    assert not (tmp_path / "out").exists()


def test_missing_prompts(tmp_path: Path) -> None:
    refused(expand(tmp_path / "out", "prompts=none.yaml"), "none.yaml")


def test_a_class_that_only_the_prompts_know(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.yaml"
    places = "[{name: snow, text: on snow}, {name: city, text: in a city}]"
    prompts.write_text(
        f"templates: ['a {{class}} {{place}}']\nattributes: {{place: {places}}}\n"
        "overrides: {foxx: {place: {snow: 2.0}}}\nexclude: [{class: ovl, place: city}]\n"
    )
    result = expand(tmp_path / "out", f"prompts={prompts}")
    refused(result, str(prompts), "class 'foxx' is no class of the dataset", "class 'ovl'", "known are ")
    assert not (tmp_path / "out").exists()


def test_a_bucket_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("AWS_", "FSSPEC_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    # In a process of its own: the store's library keeps threads and connections.
    words = options(tmp_path / "out", "input.path=s3://bucket/0.tar")
    done = call(command("expand", CONFIG, *words))
    assert (done.returncode, done.stdout) == (AugmentError.exit_code, "")
    assert done.stderr.startswith("error: s3://bucket/0.tar")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_braces_that_do_not_match(tmp_path: Path) -> None:
    refused(expand(tmp_path / "out", "input.path='train-{000..009.tar'"), "train-{000..009.tar")


def test_classes_without_a_word(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", [("a", {"png": b"", "cls": b"3"})])
    result = expand(tmp_path / "out", f"input.path={tmp_path / '0.tar'}")
    refused(result, "no name for the label(s) 3", "input.class_names")


@pytest.mark.parametrize("name", ["expand", "verify", "status"])
def test_a_ruined_plan(tmp_path: Path, name: str) -> None:
    (tmp_path / "plan").mkdir()
    (tmp_path / "plan" / "plan.json").write_text('{"format": 2}')
    refused(expand(tmp_path) if name == "expand" else invoke(name, tmp_path), "plan.json is not readable")


def test_unknown_split(tmp_path: Path) -> None:
    refused(expand(tmp_path / "out", "input.path=embedded:trian"), "train")


def test_a_model_that_is_not_there_can_be_corrected_in_the_same_folder(tmp_path: Path) -> None:
    refused(expand(tmp_path / "out", "model.name=./nowhere", "input.limit=1"), "model './nowhere'")
    corrected = expand(tmp_path / "out", "input.limit=1")
    assert corrected.exit_code == 0, corrected.stderr
    assert "2 planned = " in corrected.stdout


@pytest.mark.parametrize("name", ["expand", "preview"])
def test_output_that_cannot_be_written(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("in the way")
    result = invoke(name, CONFIG, *options(tmp_path / "file" / "out"))
    refused(result, "output.path", str(tmp_path / "file" / "out"), "cannot be written")


def test_validate_knows_outputs_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for out, reason in [
        (tmp_path / "file", "is no folder"),
        (tmp_path / "file" / "out", "is no folder"),
        (tmp_path / "link" / "out", "is a link that leads nowhere"),
        (tmp_path / ("x" * 300), "File name too long"),
        ("s3://", "s3://: names no bucket; write it as s3://BUCKET/FOLDER"),
    ]:
        (problem,) = validate(CONFIG, [*overrides(tmp_path), f"output.path={out}"]).problems
        assert reason in problem
        refused(invoke("expand", CONFIG, *options(tmp_path), "-o", f"output.path={out}"))


@pytest.mark.parametrize("name", ["benchmark", "rare-concepts", "interpolate"])
def test_results_that_could_not_be_written_are_not_measured(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("in the way")
    config = {"benchmark": "benchmark/emoji", "rare-concepts": "interpolate/rare", "interpolate": "interpolate/emoji"}
    for out, reason in [
        (tmp_path / "file" / "out", "cannot be written (" + str(tmp_path / "file") + " is no folder)"),
        (tmp_path / ("x" * 300), "cannot be written (File name too long)"),
        ("s3://bucket/out", "looks like a URL, but this command writes to a local folder"),
    ]:
        where = ("-o", f"output={out}") if name == "interpolate" else ("--out", str(out))
        refused(invoke(name, ROOT / "configs" / f"{config[name]}.yaml", *where), reason)


def test_a_name_that_is_no_text_does_not_end_a_command(tmp_path: Path) -> None:
    out = tmp_path / os.fsdecode(b"out\xff")
    assert "out\\udcff: reachable and writable" in invoke("doctor", out).stdout


def test_output_inside_the_input(tmp_path: Path) -> None:
    (tmp_path / "data" / "fox").mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(tmp_path / "data" / "fox" / "a.png")
    out = tmp_path / "data" / "out"
    refused(expand(out, f"input.path={tmp_path / 'data'}", "input.format=imagefolder"), "lies inside")
    assert not out.exists()


def test_someone_elses_shards_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "mine.tar").write_text("precious")
    refused(expand(tmp_path), "already has shards, but no plan")
    assert (tmp_path / "shards" / "mine.tar").read_text() == "precious"


@pytest.mark.parametrize("name", ["verify", "finalize", "status"])
def test_a_folder_that_is_no_output(tmp_path: Path, name: str) -> None:
    refused(invoke(name, tmp_path), "no output folder of `augment expand`")


def test_a_store_that_promises_too_little(tmp_path: Path) -> None:
    refused(invoke("status", "ftp://host/out"), "ftp://host/out: an output needs a local path or one of s3://")


def test_help_is_quick() -> None:
    code = (
        "import sys, augment.cli.main; "
        "sys.exit(any(m in sys.modules for m in ('torch', 'ray', 'diffusers', 'transformers', 'pyarrow', 'pydantic')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
    done = call(command("--help"))
    assert done.returncode == 0
    for name in ("validate", "plan", "preview", "expand", "status", "finalize", "verify", "doctor"):
        assert name in done.stdout
