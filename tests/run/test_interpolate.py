"""`augment interpolate` end to end on a few shipped pictures, and what it says about input it cannot use."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from augment.config import load_config
from augment.errors import ConfigError, InputError
from augment.evaluation.rare_concepts import RareConfig
from augment.inputs.readers import list_sources, read_bytes
from augment.run.interpolate import interpolate_dataset, load_interpolate_config, summary_lines
from augment.storage.tar import iter_tar, sha256_file, write_tar
from augment.tiny.dataset import split_path
from augment.tiny.world import CLASSES
from tests.cli.invoke import invoke
from tests.run.runs import ROOT

CONFIG = ROOT / "configs" / "interpolate" / "emoji.yaml"
SMALL = (
    "editing.num_steps=2",
    "editing.stop.max_steps=2",
    "weights=[0.0, 0.6]",
    "pairs_per_class=2",
    "batch_size=4",
    "sheet_rows=3",
)


def overrides(tmp_path, *more):
    return [*SMALL, f"input.path={tmp_path / 'in.tar'}", f"output={tmp_path / 'out'}", *more]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three foxes and three owls of the shipped validation split."""
    folder = tmp_path_factory.mktemp("interpolate")
    records = [r for r in iter_tar(split_path("val")) if CLASSES[int(r[1]["cls"])] in ("fox", "owl")]
    write_tar(folder / "in.tar", records[:6])
    return folder


@pytest.fixture(scope="module")
def report(folder):
    returned = interpolate_dataset(load_interpolate_config(CONFIG, overrides(folder)))
    assert json.loads((folder / "out" / "report.json").read_text()) == returned
    return returned


def test_every_pair_has_an_image_per_weight(report):
    assert (report["images"], report["failed"]) == (8, 0)
    assert [p["class_name"] for p in report["pairs"]] == ["fox", "owl"] * 2
    assert len({frozenset(p["sources"]) for p in report["pairs"]}) == 4
    assert report["mean_reconstruction_psnr"] == pytest.approx(sum(sum(p["psnr"]) for p in report["pairs"]) / 8)
    assert report["mean_reconstruction_psnr"] > 12.0  # two steps; noise would have less than ten
    assert summary_lines(report)[0] == "images          8 between 4 pairs, 0 failed"


def test_the_shard_is_a_dataset_with_the_labels_of_its_sources(folder, report):
    shard = folder / "out" / "interpolated.tar"
    made = list_sources(shard, "webdataset").sources
    assert [s.key for s in made] == [
        f"{label:05d}-{pair:04d}-{k}" for label in (0, 1) for pair in (0, 1) for k in (0, 1)
    ]
    by_key = {p["key"]: p for p in report["pairs"]}
    for source in made:
        pair = by_key[source.key.rpartition("-")[0]]
        assert (source.class_name, source.caption) == (pair["class_name"], pair["target_prompt"])
        assert source.class_name in source.caption
        assert Image.open(io.BytesIO(read_bytes(source))).size == (64, 64)
    details = [json.loads(files["json"]) for _, files in iter_tar(shard)]
    assert [d["weight"] for d in details] == [0.0, 0.6] * 4
    assert all(d["model_id"] == "embedded" and d["editing"]["num_steps"] == 2 for d in details)


def test_the_sheet_shows_both_images_their_reconstructions_and_what_is_between(folder, report):
    from augment.report.contact_sheet import GAP, TILE

    with Image.open(folder / "out" / "contact_sheet.png") as sheet:
        assert sheet.width == 6 * (TILE + GAP) + GAP


def test_a_second_run_gives_the_same_bytes_and_another_seed_others(folder, report):
    first = sha256_file(folder / "out" / "interpolated.tar")
    again = overrides(folder, f"output={folder / 'again'}")
    interpolate_dataset(load_interpolate_config(CONFIG, again))
    assert sha256_file(folder / "again" / "interpolated.tar") == first
    less = ("pairs_per_class=1", "editing.stop.max_steps=1", "weights=[0.6]", "seed=1")
    other = interpolate_dataset(load_interpolate_config(CONFIG, [*again, f"output={folder / 'other'}", *less]))
    assert [p["target_prompt"] for p in other["pairs"]] != [p["target_prompt"] for p in report["pairs"][:2]]


def test_too_few_images_of_a_class(tmp_path: Path) -> None:
    arguments = [f"output={tmp_path / 'out'}", "input.limit=17", "pairs_per_class=1"]
    done = invoke("interpolate", CONFIG, *(word for a in arguments for word in ("-o", a)))
    assert (done.exit_code, done.stdout) == (2, ""), done.stderr
    assert re.search(r"class '\w+' has 1 image\(s\), that is 0 pair\(s\)", done.stderr)
    assert not (tmp_path / "out").exists()


def test_a_damaged_image_is_named_and_nothing_written(tmp_path: Path) -> None:
    files = {"cls": b"0", "json": b'{"class_name": "fox"}', "txt": b"a fox"}
    write_tar(tmp_path / "in.tar", [("a", files | {"png": b"no image"}), ("b", files | {"png": b"no image"})])
    with pytest.raises(InputError, match=r"in\.tar::[ab]\.png: not an image"):
        interpolate_dataset(load_interpolate_config(CONFIG, overrides(tmp_path, "pairs_per_class=1")))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("override", "words"),
    [("weights=[0.5, 1.5]", "weights"), ("weights=[]", "weights"), ("pairs_per_clas=1", "pairs_per_class")],
)
def test_a_config_that_cannot_be_used(override, words):
    with pytest.raises(ConfigError, match=words):
        load_interpolate_config(CONFIG, [override])


@pytest.mark.parametrize("fit", ["pad", "bucket"])
def test_images_of_different_sizes(folder: Path, tmp_path: Path, fit: str) -> None:
    with pytest.raises(InputError, match=f"input.fit '{fit}' gives images of different sizes"):
        interpolate_dataset(load_interpolate_config(CONFIG, overrides(tmp_path, f"input.fit={fit}")))


def test_a_size_the_model_cannot_take(folder, tmp_path):
    with pytest.raises(InputError, match=r"image_size 60 is not a multiple of 8"):
        interpolate_dataset(
            load_interpolate_config(CONFIG, [*overrides(folder, "input.image_size=60"), f"output={tmp_path / 'out'}"])
        )
    assert not (tmp_path / "out").exists()


def test_a_picture_with_nan_is_left_out_and_counted(folder, tmp_path, monkeypatch):
    from augment.models.stable_diffusion import StableDiffusion

    decode = StableDiffusion.decode

    def spoilt(self, latents):
        images = decode(self, latents)
        images[1] = torch.nan  # the second pair of the batch: both reconstructions and all that is between
        return images

    monkeypatch.setattr(StableDiffusion, "decode", spoilt)
    report = interpolate_dataset(
        load_interpolate_config(CONFIG, [*overrides(folder, "pairs_per_class=1"), f"output={tmp_path}"])
    )
    assert (report["images"], report["failed"]) == (2, 2)
    assert [p["failed_weights"] for p in report["pairs"]] == [[], [0.0, 0.6]]
    assert report["pairs"][1]["psnr"] == [None, None]
    assert report["mean_reconstruction_psnr"] == pytest.approx(sum(report["pairs"][0]["psnr"]) / 2)
    assert [s.class_name for s in list_sources(tmp_path / "interpolated.tar", "webdataset").sources] == ["fox"] * 2


def test_output_inside_the_input(tmp_path: Path) -> None:
    from augment.errors import OutputError

    (tmp_path / "data" / "fox").mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(tmp_path / "data" / "fox" / "a.png")
    config = load_interpolate_config(
        CONFIG,
        [f"input.path={tmp_path / 'data'}", "input.format=imagefolder", f"output={tmp_path / 'data' / 'out'}"],
    )
    with pytest.raises(OutputError, match="lies inside"):
        interpolate_dataset(config)


def pair_of(tmp_path, *classes):
    for i, name in enumerate(classes):
        (tmp_path / "data" / name).mkdir(parents=True)
        for k in (0, 1):
            Image.new("RGB", (64, 64), (40 * i, 9 * k, 7)).save(tmp_path / "data" / name / f"{k}.png")
    return overrides(
        tmp_path,
        f"input={{path: {tmp_path / 'data'}, format: imagefolder, image_size: 64}}",
        f"prompts={tmp_path / 'prompts.yaml'}",
        "pairs_per_class=1",
    )


def test_prompts_that_lose_their_class_and_classes_that_only_the_prompts_know(tmp_path):
    settings = pair_of(tmp_path, "fox", "owl")
    places = "attributes: {place: [{name: snow, text: on snow}]}\n"
    prompts = tmp_path / "prompts.yaml"
    prompts.write_text("templates: ['very detailed photograph at noon, {a_class} {place}']\n" + places)
    with pytest.raises(ConfigError, match=r"prompts\.yaml: 2 of 4 prompts lose their class"):
        interpolate_dataset(load_interpolate_config(CONFIG, settings))
    prompts.write_text("templates: ['{a_class} {place}']\n" + places + "overrides: {foxx: {place: {snow: 2.0}}}\n")
    with pytest.raises(ConfigError, match="class 'foxx' is no class of the dataset"):
        interpolate_dataset(load_interpolate_config(CONFIG, settings))
    assert not (tmp_path / "out").exists()


def test_what_is_odd_about_words_and_prompts_is_said(tmp_path, caplog):
    settings = pair_of(tmp_path, "train", "val")
    text = "({class}:1.4) {place}"
    (tmp_path / "prompts.yaml").write_text(
        f"templates: ['{text}']\nattributes: {{place: [{{name: snow, text: on snow}}]}}\n"
    )
    with pytest.raises(InputError, match="image_size 60"):  # it is said before the model is loaded
        interpolate_dataset(load_interpolate_config(CONFIG, [*settings, "input.image_size=60"]))
    said = [m for m in caplog.messages if m.startswith("warning: ")]
    assert len(said) == 2
    assert "'train', 'val' look like parts of a dataset" in said[0]
    assert f"prompts.yaml: templates.0: {text!r} has the syntax of weights" in said[1]


def test_prompts_inside_the_config_and_in_a_column(tmp_path, caplog):
    for i in range(2):
        Image.new("RGB", (64, 64), (90 * i, 50, 7)).save(tmp_path / f"{i}.png")
    rows = "path,label,edits\n0.png,fox,a fox on snow\n1.png,fox,a fox on snow|a dog\n"
    (tmp_path / "in.csv").write_text(rows)
    config = {
        **yaml.safe_load(CONFIG.read_text()),
        "input": {"path": str(tmp_path / "in.csv"), "format": "manifest", "image_size": 64},
        "prompts": {"column": "edits", "blocklist": ["dog"], "llm": {"model": "any"}},
    }
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(config))
    settings = [*SMALL, "pairs_per_class=1", "weights=[0.5]", f"output={tmp_path / 'out'}"]
    report = interpolate_dataset(load_interpolate_config(tmp_path / "job.yaml", settings))
    assert [p["target_prompt"] for p in report["pairs"]] == ["a fox on snow"]
    assert report["settings"]["prompts"]["column"] == "edits"
    said = "\n".join(caplog.messages)
    assert "prompts: column 'edits': 1 left out (class word lost 1), the first is 'a dog'" in said
    assert "prompts: llm is not asked here" in said
    with pytest.raises(ConfigError, match=r"prompts: column: 'edit' is in no row"):
        interpolate_dataset(load_interpolate_config(tmp_path / "job.yaml", [*settings, "prompts.column=edit"]))


def test_lines_of_a_text_file(tmp_path):
    settings = pair_of(tmp_path, "fox", "owl")
    (tmp_path / "lines.txt").write_text("{a_class} on snow\n[owl]\nan owl in fog\n[foxx]\na foxx\n")
    settings = [*settings, f"prompts={tmp_path / 'lines.txt'}"]
    with pytest.raises(
        ConfigError, match=r"lines\.txt: lines: \[foxx\] is no class of the dataset; did you mean 'fox'"
    ):
        interpolate_dataset(load_interpolate_config(CONFIG, settings))


def test_the_shipped_configs_load():
    assert load_interpolate_config(CONFIG).editing.strength == 1.0
    assert load_config(ROOT / "configs" / "interpolate" / "rare.yaml", RareConfig).generation.strength == 1.0


def test_nothing_is_preserved_between_two_images(tmp_path):
    with pytest.raises(ConfigError, match="preserve: attention keeps the object of one image, and a pair has two"):
        load_interpolate_config(CONFIG, overrides(tmp_path, "editing.preserve=attention"))
