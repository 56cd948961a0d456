"""Bad input: a clear message, the documented exit code, no traceback, and nothing started."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from augment.data.tar import write_tar
from tests.jobs.runs import CONFIG, ROOT, call, command, expand_command

BAD_INPUT, PROBLEMS = 2, 1


def refused(done: subprocess.CompletedProcess[str], *words: str, code: int = BAD_INPUT) -> None:
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr
    assert done.stdout == ""


def test_missing_input(tmp_path: Path) -> None:
    done = call(expand_command(tmp_path / "out", f"input.path={tmp_path / 'nowhere'}", "input.format=imagefolder"))
    refused(done, str(tmp_path / "nowhere"))
    assert not (tmp_path / "out").exists()


def test_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    done = call(expand_command(tmp_path / "out", f"input.path={tmp_path / 'data'}", "input.format=imagefolder"))
    refused(done, f"no image in {tmp_path / 'data'}")
    assert not (tmp_path / "out").exists()


def test_a_folder_without_images(tmp_path: Path) -> None:
    (tmp_path / "data" / "fox").mkdir(parents=True)
    (tmp_path / "data" / "fox" / "notes.txt").write_text("nothing here")
    done = call(expand_command(tmp_path / "out", f"input.path={tmp_path / 'data'}", "input.format=imagefolder"))
    refused(done, f"no image in {tmp_path / 'data'}")


def test_unknown_keys_are_all_named_with_file_and_nearest_match(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(f"extends: {CONFIG}\nrun:\n  num_worker: 3\nseeds: 1\noutput:\n  max_shard_samples: -1\n")
    done = call(command("expand", bad, "-o", f"output.path={tmp_path / 'out'}"))
    refused(done, str(bad), "run.num_worker", "num_workers", "seeds", "seed", "output.max_shard_samples", "-1")
    assert not (tmp_path / "out").exists()


def test_missing_config(tmp_path: Path) -> None:
    refused(call(command("expand", tmp_path / "none.yaml")), str(tmp_path / "none.yaml"))


def test_missing_prompts(tmp_path: Path) -> None:
    refused(call(expand_command(tmp_path / "out", "prompts=none.yaml")), "none.yaml")


def test_a_class_that_only_the_prompts_know(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.yaml"
    places = "[{name: snow, text: on snow}, {name: city, text: in a city}]"
    prompts.write_text(
        f"templates: ['a {{class}} {{place}}']\nattributes: {{place: {places}}}\n"
        "overrides: {foxx: {place: {snow: 2.0}}}\nexclude: [{class: ovl, place: city}]\n"
    )
    done = call(expand_command(tmp_path / "out", f"prompts={prompts}"))
    refused(done, str(prompts), "class 'foxx' is no class of the dataset", "class 'ovl'", "known are ")
    assert not (tmp_path / "out").exists()


def test_a_bucket(tmp_path: Path) -> None:
    refused(call(expand_command(tmp_path / "out", "input.path=s3://bucket/0.tar")), "only local files are read")


def test_braces_that_do_not_match(tmp_path: Path) -> None:
    refused(call(expand_command(tmp_path / "out", "input.path='train-{000..009.tar'")), "train-{000..009.tar")


def test_classes_without_a_word(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", [("a", {"png": b"", "cls": b"3"})])
    done = call(expand_command(tmp_path / "out", f"input.path={tmp_path / '0.tar'}"))
    refused(done, "no name for the label(s) 3", "input.class_names")


@pytest.mark.parametrize("name", ["expand", "verify"])
def test_a_ruined_plan(tmp_path: Path, name: str) -> None:
    (tmp_path / "plan").mkdir()
    (tmp_path / "plan" / "plan.json").write_text('{"format": 1}')
    refused(
        call(expand_command(tmp_path) if name == "expand" else command(name, tmp_path)), "plan.json is not readable"
    )


def test_unknown_split(tmp_path: Path) -> None:
    refused(call(expand_command(tmp_path / "out", "input.path=embedded:trian")), "train")


def test_a_model_that_is_not_there_can_be_corrected_in_the_same_folder(tmp_path: Path) -> None:
    refused(call(expand_command(tmp_path / "out", "model.name=./nowhere", "input.limit=1")), "model './nowhere'")
    corrected = call(expand_command(tmp_path / "out", "input.limit=1"))
    assert corrected.returncode == 0, corrected.stderr
    assert "2 planned = " in corrected.stdout


def test_output_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = call(expand_command(tmp_path / "file" / "out"))
    refused(done, "output.path", str(tmp_path / "file" / "out"), "cannot be written")


def test_output_inside_the_input(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "data" / "fox").mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(tmp_path / "data" / "fox" / "a.png")
    out = tmp_path / "data" / "out"
    refused(call(expand_command(out, f"input.path={tmp_path / 'data'}", "input.format=imagefolder")), "lies inside")
    assert not out.exists()


def test_someone_elses_shards_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "mine.tar").write_text("precious")
    refused(call(expand_command(tmp_path)), "already has shards, but no plan")
    assert (tmp_path / "shards" / "mine.tar").read_text() == "precious"


@pytest.mark.parametrize("name", ["verify", "finalize"])
def test_a_folder_that_is_no_output(tmp_path: Path, name: str) -> None:
    refused(call(command(name, tmp_path)), "no output folder of `augment expand`")


def test_help_is_quick() -> None:
    code = (
        "import sys, jobs.cli; "
        "sys.exit(any(m in sys.modules for m in ('torch', 'ray', 'diffusers', 'transformers', 'pyarrow')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
    done = call(command("--help"))
    assert done.returncode == 0
    for name in ("expand", "finalize", "verify"):
        assert name in done.stdout
