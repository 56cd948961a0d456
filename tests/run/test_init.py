"""`augment init`: what is seen of datasets in many shapes, what is written for them, and that it can be run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from augment.config import load_config
from augment.errors import AugmentError, ConfigError, InputError, ModelError, OutputError
from augment.models.presets import presets
from augment.prompts import PromptConfig
from augment.prompts.domains import domains
from augment.run.config import load_expand_config
from augment.run.init import config_without_files, initialise
from augment.run.validate import validate, validate_config
from tests.cli.invoke import answer, invoke
from tests.pipelines import stable_diffusion
from tests.run.shapes import SHAPES, Shape, folders

POSITIONS = "max_position_embeddings"


@pytest.fixture(scope="module")
def large_vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline of toy size that reads 77 tokens, as Stable Diffusion does."""
    folder = tmp_path_factory.mktemp("model")
    stable_diffusion().save_pretrained(folder)
    for file, name in (("tokenizer/tokenizer_config", "model_max_length"), ("text_encoder/config", POSITIONS)):
        settings = folder / f"{file}.json"
        settings.write_text(json.dumps(json.loads(settings.read_text()) | {name: 77}))
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("name", "shape"), SHAPES.items(), ids=SHAPES)
def test_a_dataset_of_this_shape(name: str, shape: Shape, here: Path, large_vocabulary: Path) -> None:
    shape.write(here / name)
    said = initialise(name, str(large_vocabulary), here / "one")
    content = said.as_dict()
    assert list(content) == ["format", "classes", "images", "class_words", "model", "notes"]
    assert content["class_words"] == shape.words
    assert (content["format"], content["classes"], content["images"]) == (shape.format, len(shape.words), shape.images)
    assert content["notes"][0].startswith(f"domain {shape.domain}: ")
    for words in shape.says:
        assert any(words in note for note in content["notes"]), content["notes"]
    for model, out in ((str(large_vocabulary), "one"), ("embedded", "two")):
        if model == "embedded":
            initialise(name, model, here / out)
        found = validate(here / out / "expand.yaml", ["clip.name=embedded"])  # the other one is not downloaded
        assert found.problems == ()
        assert (found.sources, found.classes) == (shape.images, len(shape.words))
    config = load_expand_config(here / "one" / "expand.yaml")
    assert config.input.class_names == shape.words
    assert config.output.path == f"out/{name}"
    assert load_config(here / "one" / "prompts.yaml", PromptConfig) == domains()[shape.domain].prompts
    first = {file.name: file.read_bytes() for file in (here / "two").iterdir()}
    initialise(name, "embedded", here / "two", force=True)
    assert first == {file.name: file.read_bytes() for file in (here / "two").iterdir()}


@pytest.mark.parametrize("name", presets())
def test_the_settings_of_a_model_are_those_of_its_preset(name: str, here: Path) -> None:
    folders("red_fox", "snow_owl")(here / "photos")
    preset = presets()[name]
    config, notes = config_without_files("photos", name)
    assert config.model.name == preset.name
    assert (config.input.image_size, config.run.batch_size) == (preset.image_size, preset.batch_size)
    assert config.editing.model_dump(include=set(preset.editing)) == preset.editing
    assert isinstance(config.prompts, PromptConfig)
    assert list(config.prompts.attributes) == list(domains()[preset.grid or "natural"].prompts.attributes)
    assert (config.filters.min_label_probability is None) == bool(preset.grid)  # the embedded CLIP knows no `red`
    flow = preset.family in ("StableDiffusion3Pipeline", "FluxPipeline")
    assert (config.editing.sampler == "flow_euler") == flow
    assert any("has no word for 'red fox', so" in note for note in notes) == bool(preset.grid)


def test_objects_that_the_model_has_no_word_for(here: Path) -> None:
    folders("fox", "Black_footed_Albatross")(here / "photos")
    report = initialise("photos", "embedded", here)
    assert report.as_dict()["class_words"]["Black_footed_Albatross"] == "Black footed Albatross"
    assert any("embedded has no word for 'Black footed Albatross'" in note for note in report.as_dict()["notes"])
    prompts = load_config(here / "prompts.yaml", PromptConfig)
    assert (prompts.scene_only, prompts.templates) == (True, ("a picture of something {background} {condition}",))
    assert load_expand_config(here / "expand.yaml").filters.min_label_probability is None
    assert validate(here / "expand.yaml").problems == ()


def test_words_of_emoji_world_keep_the_filter_and_the_demos_templates(here: Path) -> None:
    folders("fox", "owl")(here / "photos")
    config, _ = config_without_files("photos", "embedded")
    assert config.filters.min_label_probability == 0.5
    assert isinstance(config.prompts, PromptConfig)
    assert config.prompts.templates == ("a picture of {a_class} {background} {condition}",)


def test_pictures_of_another_aspect_are_kept_whole(here: Path) -> None:
    folders("fox", "owl", size=(192, 64))(here / "photos")
    assert config_without_files("photos", "sd15")[0].input.fit == "pad"
    assert config_without_files("photos", "sdxl")[0].input.fit == "bucket"
    folders("fox", "owl", size=(80, 64))(here / "more")
    assert config_without_files("more", "sdxl")[0].input.fit == "crop"


def test_a_domain_that_is_asked_for(here: Path) -> None:
    folders("fox", "owl")(here / "photos")
    initialise("photos", "sd15", here, domain="drawings")
    assert load_config(here / "prompts.yaml", PromptConfig) == domains()["drawings"].prompts
    assert config_without_files("photos", "sd15")[0].clip.label_templates == ("a photo of {a_class}",)
    with pytest.raises(ConfigError, match="'paintings' is none of defects, drawings, "):
        initialise("photos", "sd15", here / "other", domain="paintings")


def test_names_that_yaml_would_read_as_something_else(here: Path) -> None:
    names = ("no", "1e3", "null", "a: b", "# fox", "{x}", "'q'")
    folders(*names)(here / "odd: {photos} # 1")
    initialise("odd: {photos} # 1", "sd15", here)
    config = load_expand_config(here / "expand.yaml")
    assert config.input.path == "odd: {photos} # 1"
    assert sorted(config.input.class_names) == sorted(names)
    assert yaml.safe_load((here / "prompts.yaml").read_text())["source_template"]


def test_nothing_is_overwritten(here: Path) -> None:
    folders("fox", "owl")(here / "photos")
    (here / "prompts.yaml").write_text("mine")
    with pytest.raises(OutputError, match=r"prompts\.yaml is there already; name another folder with --out, or "):
        initialise("photos", "embedded", here)
    assert ((here / "prompts.yaml").read_text(), (here / "expand.yaml").exists()) == ("mine", False)
    initialise("photos", "embedded", here, force=True)
    assert "templates" in (here / "prompts.yaml").read_text()


def test_home_and_variables_in_the_path(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders("fox", "owl")(here / "photos")
    monkeypatch.setenv("PLACE", str(here))
    assert config_without_files("$PLACE/photos", "embedded")[0].input.path == str(here / "photos")
    with pytest.raises(InputError, match="'NOWHERE' is not set"):
        config_without_files("$NOWHERE/photos", "embedded")


def test_the_output_never_lies_in_the_dataset(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders("fox", "owl")(here / "photos")
    monkeypatch.chdir(here / "photos")
    config, _ = config_without_files(".", "embedded")
    assert config.output.path == str(here / "photos-edits")
    assert validate_config(config).problems == ()


@pytest.mark.parametrize(
    ("dataset", "model", "error", "words"),
    [
        ("nowhere", "embedded", InputError, "nowhere does not exist"),
        ("empty", "embedded", InputError, "no image in empty: it holds no file at all"),
        ("notes.txt", "embedded", InputError, "notes.txt is no dataset"),
        ("photos", "sdxl-turb", ModelError, "did you mean 'sdxl-turbo'?"),
        ("photos", "empty", ModelError, "the folder has no readable model_index.json"),
        (
            "several",
            "embedded",
            InputError,
            "several holds several datasets.*bottle, cable.*for example several/bottle",
        ),
        ("loose", "embedded", InputError, r"loose holds 1 image\(s\), the first is 0.png, beside folders of images"),
    ],
)
def test_what_cannot_be_used(here: Path, dataset: str, model: str, error: type[AugmentError], words: str) -> None:
    folders("fox", "owl")(here / "photos")
    folders("bottle/train/good", "bottle/test/good", "cable/train/good")(here / "several")
    folders("fox", "owl")(here / "loose")
    (here / "loose" / "fox" / "0.png").rename(here / "loose" / "0.png")
    (here / "empty").mkdir()
    (here / "notes.txt").write_text("hello")
    with pytest.raises(error, match=words):
        initialise(dataset, model, here / "out")
    assert not (here / "out").exists()


def test_the_command(here: Path) -> None:
    folders("red_fox", "snow_owl")(here / "photos")
    content = answer("init", "photos", "--model", "sd15", "--out", "configs")
    assert content["class_words"] == {"red_fox": "red fox", "snow_owl": "snow owl"}
    assert content["model"] == "stable-diffusion-v1-5/stable-diffusion-v1-5"
    again = answer("init", "photos", "--out", "configs", code=AugmentError.exit_code)
    assert "are there already" in again["error"]
    shown = invoke("init", "photos", "--out", "configs", "--force")
    assert "images          4 of 2 classes: red fox 2, snow owl 2" in shown.stdout
    assert "next            augment validate configs/expand.yaml" in shown.stdout


def test_commands_without_a_config_file(here: Path) -> None:
    folders("fox", "owl")(here / "photos")
    assert answer("validate", "--data", "photos", "--model", "embedded")["planned"] == 16
    planned = answer("plan", "--data", "photos", "-o", "variants_per_image=2")
    assert (planned["sources"], planned["planned"]) == (4, 8)
    assert sorted(path.name for path in here.iterdir()) == ["photos"]
    for arguments, words in (
        ((), "name a config file, or a dataset with --data"),
        (("job.yaml", "--data", "photos"), "leave out job.yaml"),
        (("--data", "photos", "-o", "editing.stregth=1"), "did you mean editing.strength?"),
    ):
        refused = answer("validate", *arguments, code=AugmentError.exit_code)
        assert words in refused["error"]
