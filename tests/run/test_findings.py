"""What a dataset and its prompts say before a model is loaded: problems stop a run, warnings are said once."""

from __future__ import annotations

import json
import logging
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from augment.cli.output import PROBLEMS
from augment.errors import AugmentError, ConfigError
from augment.run.config import load_expand_config
from augment.run.dry_run import dry_run
from augment.run.expand import expand
from augment.run.finalize import finalize
from augment.run.simulate import SimulatedEditor
from augment.run.validate import Validation, validate
from augment.run.worker import Worker
from tests.cli.invoke import answer, invoke
from tests.run.runs import written

CLASSES = ("fox", "owl")


def dataset(root: Path, classes: tuple[str, ...] = CLASSES) -> Path:
    for i, name in enumerate(classes):
        (root / "data" / name).mkdir(parents=True)
        Image.new("RGB", (64, 64), (40 * i, 9, 7)).save(root / "data" / name / "1.png")
    return root


def config(root: Path, template: str = "a picture of {a_class} {place}", text: str = "on snow", **more: Any) -> Path:
    templates = [template] if "{place}" in template else [template, "{class} {place}"]
    grid = {"templates": templates, "attributes": {"place": [{"name": "snow", "text": text}]}}
    (root / "prompts.yaml").write_text(yaml.safe_dump(grid))
    job: dict[str, Any] = {
        "input": {"path": str(root / "data"), "format": "imagefolder", "image_size": 64},
        "output": {"path": str(root / "out")},
        "prompts": "prompts.yaml",
        "variants_per_image": 1,
        "editing": {"num_steps": 2},
        "run": {"executor": "local"},
    }
    for key, value in more.items():
        section, _, name = key.partition("__")
        job.setdefault(section, {})[name] = value
    (root / "job.yaml").write_text(yaml.safe_dump(job))
    return root / "job.yaml"


def checked(root: Path, **more: Any) -> Validation:
    return validate(config(root, **more))


def test_nothing_to_say(tmp_path: Path) -> None:
    assert checked(dataset(tmp_path)) == Validation((), 2, 2, 2, ())


@pytest.mark.parametrize(
    ("classes", "settings", "words"),
    [
        (("a", "b", "c"), {"input__class_names": {"0": "fox", "1": "owl", "2": "Fox"}}, "the labels 0, 2 are 'fox'"),
        (("c0", "c1"), {}, "2 class name(s) that are codes or numbers"),
        (("0", "1"), {}, "2 class name(s) that are codes or numbers"),
        (("train", "val"), {}, "look like parts of a dataset"),
        (("001.Red_fox", "002.Owl"), {}, "'001.Red_fox' is 'Red_fox', '002.Owl' is 'Owl'"),
        (CLASSES, {"text": "on {snow}"}, "prompts.yaml: attributes.place.snow: 'on {snow}' has braces"),
        (
            CLASSES,
            {"template": "({class}:1.4)"},
            "prompts.yaml: templates.0: '({class}:1.4)' has the syntax of weights",
        ),
        (CLASSES, {"text": "at the far end of the longest road in snow"}, "prompts are longer than the model reads"),
        (CLASSES, {"clip__label_templates": ["{a_class} " + "a picture " * 9]}, "clip.label_templates: 2 of 2 texts"),
        (
            CLASSES,
            {"editing__self_replace_steps": 0.5},
            "self_replace_steps: 0.5 without a mask holds the whole picture",
        ),
    ],
)
def test_warnings(tmp_path: Path, classes: tuple[str, ...], settings: dict[str, Any], words: str) -> None:
    found = checked(dataset(tmp_path, classes), **settings)
    assert found.problems == ()
    (warning,) = found.warnings
    assert words in warning
    assert dry_run(load_expand_config(tmp_path / "job.yaml")).notes[0] == warning


def test_numbered_folders_with_words_by_their_numbers(tmp_path: Path) -> None:
    names = tuple(str(i) for i in (1, 2, 10))
    found = checked(dataset(tmp_path, names), input__class_names={"1": "fox", "2": "owl", "10": "bus"})
    (warning,) = found.warnings  # labels are 0, 1 and 2: key 1 could be the folder 10, key 2 the folder 2
    assert "1 is the folder '1', whose label is 0, and the folder of label 1 is '10'" in warning


def test_the_same_picture_in_two_classes(tmp_path: Path) -> None:
    dataset(tmp_path)
    (tmp_path / "data/owl/2.png").write_bytes((tmp_path / "data/fox/1.png").read_bytes())
    (warning,) = checked(tmp_path).warnings
    assert "1 picture(s) in more than one class" in warning
    assert "fox/1.png ('fox') = " in warning
    assert "owl/2.png ('owl')" in warning


def test_what_the_fit_cuts_off(tmp_path: Path) -> None:
    dataset(tmp_path)
    for i, name in enumerate(CLASSES):
        Image.new("RGB", (192, 64), (40 * i, 9, 7)).save(tmp_path / "data" / name / "1.png")
    (warning,) = checked(tmp_path).warnings
    assert warning.startswith(
        "input.fit: crop cuts off more than 30% of 2 of 2 pictures looked at, most of all 67% of "
    )
    assert "(192x64). Take bucket (edits of each picture's own aspect) or pad (the whole picture)" in warning
    for fit in ("bucket", "pad", "stretch"):
        assert checked(tmp_path, input__fit=fit).warnings == ()
    for i, name in enumerate(CLASSES):
        Image.new("RGB", (80, 60), (40 * i, 9, 7)).save(tmp_path / "data" / name / "1.png")  # as most photos are
    assert checked(tmp_path).warnings == ()


@pytest.mark.parametrize(
    ("size", "fit", "words"),
    [
        (60, "crop", "input.image_size 60 is not a multiple of 8, as images for 'embedded' must be; take 56 or 64"),
        (32, "bucket", "input.image_size 32 gives buckets with sides such as 20, which are no multiples of 8"),
    ],
)
def test_sizes_that_the_model_cannot_take(tmp_path: Path, size: int, fit: str, words: str) -> None:
    (problem,) = checked(dataset(tmp_path), input__image_size=size, input__fit=fit).problems
    assert problem.startswith(words)


def test_a_class_alone_and_a_filter_that_compares_classes(tmp_path: Path) -> None:
    (problem,) = checked(dataset(tmp_path, ("fox",))).problems
    assert problem.startswith(
        "filters.min_label_probability: 0.5 filters nothing, because the dataset has the one class"
    )
    assert checked(tmp_path, filters__min_label_probability=None).ok
    (tmp_path / "more").mkdir()
    two_names = checked(dataset(tmp_path / "more", ("Fox", "fox")))
    assert "the one class word 'Fox'" in two_names.problems[0]


def test_a_class_alone_is_published_without_that_filter_only(tmp_path: Path) -> None:
    out, path = tmp_path / "out", config(dataset(tmp_path, ("fox",)), filters__min_label_probability=None)
    summary = expand(load_expand_config(path), make_worker=partial(Worker, make_editor=SimulatedEditor))
    assert summary.manifest["accepted"] == 1
    before = written(out)
    with pytest.raises(ConfigError) as refused:
        finalize(out, ["filters.min_label_probability=0.5"])
    config(tmp_path)  # the same job with the default threshold
    assert refused.value.problems == validate(path).problems
    assert written(out) == before


def test_publishing_again_with_nothing_accepted_is_a_failure(tmp_path: Path) -> None:
    out, path = tmp_path / "out", config(dataset(tmp_path), filters__min_label_probability=None)
    expand(load_expand_config(path), make_worker=partial(Worker, make_editor=SimulatedEditor))
    content = answer("finalize", out, "-o", "filters.min_text_alignment=1.0", code=PROBLEMS)
    assert (content["accepted"], content["rejected"]) == (0, 2)
    (problem,) = content["problems"]
    assert problem.startswith("no edit was accepted, so there is nothing to train on (2 by text_alignment)")
    again = invoke("finalize", out)
    assert (again.exit_code, again.stderr) == (PROBLEMS, f"error: {problem}\n")
    assert answer("finalize", out, "-o", "filters.min_text_alignment=null")["problems"] == []


def test_prompts_that_lose_their_class_stop_everything(tmp_path: Path) -> None:
    path = config(dataset(tmp_path), template="very detailed photograph at noon, {a_class} {place}")
    (problem,) = validate(path).problems
    assert "prompts.yaml: 4 of 4 prompts lose their class" not in problem  # the source prompt is short
    assert "prompts.yaml: 2 of 4 prompts lose their class" in problem
    for refuses in (dry_run, expand):
        with pytest.raises(ConfigError, match="lose their class"):
            refuses(load_expand_config(path))
    assert not (tmp_path / "out").exists()


def test_the_command_says_warnings_and_ends_well(tmp_path: Path) -> None:
    path = config(dataset(tmp_path, ("train", "val")))
    result = invoke("validate", path)
    assert (result.exit_code, result.stdout) == (0, "ok: 2 images of 2 classes, 2 edits\n")
    assert result.stderr.startswith("warning: input: the class(es) 'train', 'val' look like parts")
    result = invoke("validate", path, "--json")
    content = json.loads(result.stdout)
    assert (content["ok"], content["problems"], len(content["warnings"])) == (True, [], 1)
    assert result.stderr == ""
    result = invoke("validate", path, "-o", "prompts=none.yaml")
    assert result.exit_code == AugmentError.exit_code


def test_a_derivative_that_nothing_uses_is_pointed_out(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"editing__solver": {"name": "rnri"}, "editing__stop": {"max_steps": 1}}
    (warning,) = checked(dataset(tmp_path), **settings).warnings
    assert "with one iteration rnri is DDIM inversion at twice the cost" in warning
    assert checked(tmp_path, **settings | {"editing__stop": {"max_steps": 2}}).warnings == ()


def test_a_run_says_each_warning_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = config(dataset(tmp_path, ("train", "val")))
    with caplog.at_level(logging.WARNING, "augment.run.expand"), pytest.raises(AugmentError, match="no worker here"):
        expand(load_expand_config(path), make_worker=_no_worker)
    said = [record.getMessage() for record in caplog.records if "parts of a dataset" in record.getMessage()]
    assert len(said) == 1


def _no_worker(config: Any) -> Any:
    raise AugmentError("no worker here")
