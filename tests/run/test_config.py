"""What a config means: which images, which classes, which file of prompts, and what must not change on resume."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from augment.config import load_config, resolved_yaml
from augment.editing import EditConfig
from augment.editing.config import OF_THE_OBJECT
from augment.errors import ConfigError, InputError, OutputError
from augment.ledger.plan import Plan, config_hash_of, fingerprint_difference
from augment.prompts import PromptConfig
from augment.run.config import ExpandConfig, OutputConfig, fingerprint, job_sources, load_expand_config
from augment.run.preview import over_classes
from augment.run.worker_config import worker_config
from augment.storage.tar import write_tar
from augment.tiny.world import CLASSES

PROMPTS = PromptConfig(templates=("a {class}",))


def config_of(path: Path | str, **changes: Any) -> ExpandConfig:
    section = {"path": str(path), "format": "webdataset", "image_size": 64, **changes}
    others = {"output": {"path": "out"}, "model": {"revision": "r1"}, "prompts": "prompts.yaml"}
    return ExpandConfig.model_validate({"input": section, **others})


def test_prompts_are_relative_to_the_file_or_typed_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "expand.yaml").write_text(resolved_yaml(config_of("embedded:val")))
    monkeypatch.chdir(tmp_path)
    assert load_expand_config("configs/expand.yaml").prompts == tmp_path / "configs" / "prompts.yaml"
    assert load_expand_config("configs/expand.yaml", ["prompts=my.yaml"]).prompts == tmp_path / "my.yaml"
    assert load_expand_config("configs/expand.yaml", ["prompts=/a/my.yaml"]).prompts == Path("/a/my.yaml")
    other = load_expand_config("configs/expand.yaml", ["seed=1"])
    assert (other.prompts, other.seed) == (tmp_path / "configs" / "prompts.yaml", 1)


def test_prompts_may_stand_in_the_config(tmp_path: Path) -> None:
    text = "input: {path: p, format: flat, image_size: 64}\noutput: {path: o}\n"
    text += "prompts:\n  templates: ['{class} {place}']\n"
    path = tmp_path / "expand.yaml"
    path.write_text(text + "  attributes: {place: [{name: snow, text: on snow}]}\n")
    config = load_expand_config(path)
    assert isinstance(config.prompts, PromptConfig)
    assert config.prompts.templates == ("{class} {place}",)
    (tmp_path / "resolved.yaml").write_text(resolved_yaml(config))
    assert load_expand_config(tmp_path / "resolved.yaml") == config
    path.write_text(text + "  atributes: {}\n")
    with pytest.raises(ConfigError, match=r"did you mean prompts\.attributes\?"):
        load_expand_config(path)
    with pytest.raises(ConfigError, match="prompts") as refused:
        load_expand_config(path, ["prompts=3"])
    assert len(refused.value.problems) == 1


def test_the_fit_is_in_the_fingerprint_unless_it_is_the_crop() -> None:
    """A plan from before there was a choice goes on."""
    of = {name: fingerprint(config_of("in", fit=name), PROMPTS, [], {}) for name in ("crop", "pad", "bucket")}
    assert "input.fit" not in of["crop"]
    assert of["pad"] == of["crop"] | {"input.fit": "pad"}
    assert fingerprint_difference(of["pad"], of["bucket"]) == ["input.fit: 'pad' in the plan, 'bucket' now"]


def test_a_limit_leaves_all_class_names() -> None:
    sources, class_names, _ = job_sources(config_of("embedded:val", limit=3))
    assert len(sources) == 3
    assert class_names == dict(enumerate(CLASSES))


def test_a_limit_is_a_random_sample_that_a_larger_limit_keeps() -> None:
    few, more, everything = (job_sources(config_of("embedded:val", limit=limit))[0] for limit in (16, 64, None))
    assert few == more[:16] and more == everything[:64]
    assert len(everything) == 320
    # 64 of 320 pictures of 16 classes; the first by key would be 4 of each.
    counts = Counter(source.label for source in more)
    assert len(counts) >= 14 and max(counts.values()) > 4


def test_the_order_of_a_run_does_not_depend_on_its_seed() -> None:
    config = config_of("embedded:val")
    assert job_sources(config.model_copy(update={"seed": 7})) == job_sources(config)


def test_a_preview_is_spread_over_the_classes_in_the_order_of_the_run() -> None:
    sources, *_ = job_sources(config_of("embedded:val"))
    chosen = over_classes(sources, 16)
    assert {source.label for source in chosen} == set(range(16))
    assert chosen == [source for source in sources if source in chosen]
    assert over_classes(sources[:3], 12) == sources[:3]


def test_class_names_of_the_whole_dataset_are_part_of_the_fingerprint() -> None:
    config = config_of("embedded:val", limit=3)
    sources, class_names, _ = job_sources(config)
    all_of_them, fewer = (fingerprint(config, PROMPTS, sources, c) for c in (class_names, {0: class_names[0]}))
    difference = fingerprint_difference(all_of_them, fewer)
    assert [line.split(":")[0] for line in difference] == ["input.class_names", "input.classes"]
    assert difference[1] == f"input.classes: {len(CLASSES)} in the plan, 1 now"


def test_classes_are_called_what_the_config_says(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", [("a", {"png": b"", "cls": b"3"})])
    with pytest.raises(InputError, match=r"no name for the label\(s\) 3"):
        job_sources(config_of(tmp_path))
    (tmp_path / "expand.yaml").write_text(resolved_yaml(config_of(tmp_path, class_names={3: "fox"})))
    sources, class_names, _ = job_sources(load_config(tmp_path / "expand.yaml", ExpandConfig))
    assert (sources[0].class_name, class_names) == ("fox", {3: "fox"})


@pytest.mark.parametrize(
    ("given", "folder"),
    [
        ("{0}/in/out", "{0}/in"),
        ("file://{0}/in/out", "{0}/in"),
        ("{0}/in/out", "file://{0}/in"),
        ("file://{0}/in", "file://{0}/in"),
        ("{0}/link/out", "{0}/in"),
        ("memory://bucket/in", "memory://bucket/in/"),
        ("memory://bucket/in/out", "memory://bucket/in"),
    ],
)
def test_an_output_inside_the_input_is_refused(tmp_path: Path, given: str, folder: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "in")
    config = config_of(folder.format(tmp_path))
    config = config.model_copy(update={"output": OutputConfig(path=given.format(tmp_path))})
    with pytest.raises(OutputError, match=r"lies inside input\.path"):
        job_sources(config)


def test_an_output_beside_the_input_is_not(tmp_path: Path) -> None:
    write_tar(tmp_path / "in" / "0.tar", [("a", {"png": b"", "cls": b"3", "json": b'{"class_name": "fox"}'})])
    config = config_of(tmp_path / "in")
    config = config.model_copy(update={"output": OutputConfig(path=f"file://{tmp_path}/in2")})
    assert len(job_sources(config)[0]) == 1


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("seed=99999999999999999999999999", "seed: "),
        ("input.class_names={'': fox}", "input.class_names.: "),
        ("input.class_names={0: ' '}", "input.class_names.0: "),
        ("input.path=''", "input.path: "),
        ("input.path=[a.tar, '']", "input.path.1: "),
        ("editing.sampler=eular", "editing.sampler: .*did you mean 'euler'"),
        ("editing.guidance_scale=.inf", "editing.guidance_scale: "),
        ("model.device=cudaa", "model.device: "),
        ("run.address=foo", "run.address: "),
        ("run.num_workers=al", "run.num_workers: .*did you mean 'all'"),
        ("clip.label_templates=['a {class_name}']", r"clip.label_templates: .*\{class_name\} is neither"),
        ("clip.label_templates=['a picture']", "clip.label_templates: .*says nothing about the class"),
        ("clip.label_templates=['a {']", "clip.label_templates: "),
    ],
)
def test_values_that_cannot_be_used_are_found_before_anything_starts(
    tmp_path: Path, override: str, problem: str
) -> None:
    (tmp_path / "expand.yaml").write_text(resolved_yaml(config_of("embedded:val")))
    with pytest.raises(ConfigError, match=f"-o .*: {problem}"):
        load_config(tmp_path / "expand.yaml", ExpandConfig, [override])


def test_a_value_that_fits_no_kind_is_one_problem(tmp_path: Path) -> None:
    (tmp_path / "expand.yaml").write_text(resolved_yaml(config_of("embedded:val")))
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "expand.yaml", ExpandConfig, ["run.num_workers=al"])
    (problem,) = caught.value.problems
    assert problem.startswith("-o run.num_workers=al: run.num_workers: Input should be a valid integer")
    assert ", or: Input should be 'all'; did you mean 'all'? (value 'al'; workers, one GPU each" in problem


def test_what_preserves_is_in_the_fingerprint_unless_nothing_does() -> None:
    """A plan from before there was a choice goes on, and its edits keep their ids."""

    def of(**editing: Any) -> dict[str, Any]:
        config = config_of("in").model_copy(update={"editing": EditConfig(**editing)})
        return fingerprint(config, PROMPTS, [], {})

    plain, difference = of(), of(preserve="difference")
    assert not [key for key in plain if key.startswith("editing.preserve")]
    assert of(preserve_until=0.5) == plain
    assert difference == plain | {"editing.preserve": "difference", "editing.preserve_until": 0.6}
    assert config_hash_of(plain) != config_hash_of(difference) != config_hash_of(of(preserve="attention"))
    settings = EditConfig().identity()
    without_effect = {*OF_THE_OBJECT, "candidates", "moves"}
    assert settings == EditConfig().model_dump(mode="json", exclude=without_effect)
    of_word = EditConfig(preserve="attention", preserve_word="something", self_replace_steps=0.5).identity()
    unused = {"candidates", "moves", "cross_replace_steps", "object_guidance_scale"}
    assert "num_steps" in settings and of_word.keys() == EditConfig.model_fields.keys() - unused | {"attention_edge"}
    assert of(self_replace_steps=0.5) == plain | {"editing.self_replace_steps": 0.5}
    assert of(moves={"flip": 0.5}) == plain | {
        "editing.moves.flip": 0.5,
        "editing.moves.scale": [1.0, 1.0],
        "editing.moves.shift": 0.0,
    }
    assert "preserve_word" not in EditConfig(preserve="mask", preserve_word="something").identity()
    assert of(preserve="attention", preserve_word="it") != of(preserve="attention")


@pytest.mark.parametrize(("executor", "device"), [("local", "cuda:1"), ("ray", "cuda")])
def test_a_worker_on_ray_takes_the_one_gpu_that_it_sees(executor: str, device: str) -> None:
    config = ExpandConfig.model_validate(
        {
            **config_of("in").model_dump(),
            "model": {"revision": "r1", "device": "cuda:1"},
            "run": {"executor": executor},
        }
    )
    plan = Plan({}, (), 0, 0, {0: "fox"})
    assert worker_config(config, plan).device == device
