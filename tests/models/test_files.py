"""What a model folder's files show before anything is loaded: each with its file, its reason and the next step."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from augment.errors import ModelError
from augment.models.clip import load_clip
from augment.models.config import ClipConfig, ModelConfig, pinned, pinned_clip
from augment.models.load import load_model
from augment.tiny.packaged import WEIGHTS
from tests.models.corruptions import POINTER
from tests.pipelines import stable_diffusion, stable_diffusion_3

UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    stable_diffusion().save_pretrained(folder / "sd")
    return folder / "sd"


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A sound pipeline, to be damaged."""
    return Path(shutil.copytree(saved, tmp_path / "sd"))


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A sound CLIP model, to be damaged."""
    return Path(shutil.copytree(WEIGHTS / "clip", tmp_path / "clip"))


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def change_tensors(path: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def renamed(path: Path, name: str) -> None:
    path.rename(path.with_name(name))


def emptied(path: Path) -> None:
    path.write_bytes(b"")


DAMAGES = {
    "a pointer": (lambda f: (f / UNET).write_text(POINTER), rf"{UNET} is a Git LFS pointer.*git lfs pull"),
    "cut off": (lambda f: cut(f / UNET), rf"{UNET} is cut off: [\d,]+ bytes of [\d,]+; download or copy it again"),
    "empty": (lambda f: emptied(f / UNET), rf"{UNET} is empty"),
    "no weights": (lambda f: (f / UNET).unlink(), rf"{UNET} is not there: download or copy the whole folder"),
    "a variant only": (
        lambda f: renamed(f / UNET, "diffusion_pytorch_model.fp16.safetensors"),
        rf"{UNET} is not there, only the variant fp16: set model\.variant: fp16",
    ),
    "pickled only": (
        lambda f: renamed(f / UNET, "diffusion_pytorch_model.bin"),
        r"unet/ has pickled weights only .*use_safetensors=False",
    ),
    "a broken link": (
        lambda f: ((f / UNET).unlink(), (f / UNET).symlink_to("blob")),
        rf"{UNET} is a link to blob, which is not there",
    ),
    "a null field": (
        lambda f: change(f / "vae/config.json", scaling_factor=None),
        r"vae/config\.json: scaling_factor is null: expected is a number above 0",
    ),
    "a text for a number": (
        lambda f: change(f / "scheduler/scheduler_config.json", num_train_timesteps="1000"),
        r"scheduler/scheduler_config\.json: num_train_timesteps is '1000': expected is a whole number above 0",
    ),
    "an absurd number": (
        lambda f: change(f / "unet/config.json", layers_per_block=10**12),
        r"unet/config\.json: layers_per_block is 1000000000000: no network has so many",
    ),
    "half a config": (lambda f: cut(f / "scheduler/scheduler_config.json"), r"scheduler_config\.json is no JSON"),
    "a list for an index": (lambda f: (f / "model_index.json").write_text("[]"), r"model_index\.json holds a list"),
    "no part": (lambda f: shutil.rmtree(f / "vae"), r"vae/ is not there, but model_index\.json names it"),
    "no tokenizer": (lambda f: (f / "tokenizer/tokenizer.json").unlink(), "tokenizer/ has no tokenizer"),
    "an unknown library": (
        lambda f: change(f / "model_index.json", text_encoder=["mine", "Encoder"]),
        "text_encoder is a Encoder of 'mine': only parts of diffusers and transformers",
    ),
    "another autoencoder": (
        lambda f: change(f / "model_index.json", vae=["diffusers", "AutoencoderTiny"]),
        "vae is a AutoencoderTiny, which is not supported; supported is AutoencoderKL",
    ),
    "integers": (
        lambda f: change_tensors(f / UNET, lambda t: t.update({"conv_in.bias": t["conv_in.bias"].to(torch.int8)})),
        rf"{UNET} holds integers for conv_in\.bias: quantised or damaged",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_the_files_tell(name: str, folder: Path) -> None:
    damage, message = DAMAGES[name]
    damage(folder)  # type: ignore[no-untyped-call]
    with pytest.raises(ModelError, match=f"(?s)model '{folder}'.*{message}"):
        pinned(ModelConfig(name=str(folder)))


def test_all_problems_are_told_at_once(folder: Path) -> None:
    emptied(folder / UNET)
    shutil.rmtree(folder / "vae")
    change(folder / "text_encoder/config.json", hidden_size=None)
    with pytest.raises(ModelError) as caught:
        pinned(ModelConfig(name=str(folder)))
    assert len(str(caught.value).splitlines()) == 4


def test_a_variant_is_taken_where_it_is_there(folder: Path) -> None:
    renamed(folder / UNET, "diffusion_pytorch_model.fp16.safetensors")
    config = ModelConfig(name=str(folder), variant="fp16")
    assert load_model(config).revision == pinned(config).revision
    renamed(folder / UNET.replace(".s", ".fp16.s"), "diffusion_pytorch_model.safetensors")
    with pytest.raises(ModelError, match=r"no weight file of model\.variant 'ema' is there.*leave it empty"):
        pinned(ModelConfig(name=str(folder), variant="ema"))


def test_sharded_weights_load_and_a_missing_shard_is_named(folder: Path) -> None:
    stable_diffusion().unet.save_pretrained(folder / "unet", max_shard_size="40KB")
    (folder / UNET).unlink(missing_ok=True)
    shards = sorted(p.name for p in (folder / "unet").glob("*-of-*.safetensors"))
    assert len(shards) >= 2
    load_model(ModelConfig(name=str(folder)))
    (folder / "unet" / shards[0]).unlink()
    change_tensors(folder / "unet" / shards[1], lambda t: t.pop(min(t)))
    with pytest.raises(
        ModelError, match=rf"(?s)unet/{shards[0]} is not there.*unet/{shards[1]} lacks .*the index says"
    ):
        pinned(ModelConfig(name=str(folder)))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["model.safetensors"], r"has no model_index.json, but model.safetensors: .*from_single_file\('.*model.saf"),
        (["config.json"], "one part of a pipeline at most: name the folder that holds all"),
        (["sd/model_index.json"], "but .*/sd has one: name that folder"),
        (["readme.txt"], "so it is no diffusers pipeline; save one with"),
    ],
)
def test_folders_that_are_no_pipeline(files: list[str], message: str, tmp_path: Path) -> None:
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text("{}")
    with pytest.raises(ModelError, match=message):
        pinned(ModelConfig(name=str(tmp_path)))


def test_a_checkpoint_in_one_file(tmp_path: Path) -> None:
    path = tmp_path / "v1-5.safetensors"
    path.write_bytes(b"x")
    with pytest.raises(ModelError, match=r"is a file: .*converted once with `StableDiffusionPipeline.from_single_file"):
        pinned(ModelConfig(name=str(path)))


def test_t5_may_be_missing_but_no_other_encoder(tmp_path: Path) -> None:
    stable_diffusion_3(with_t5=False).save_pretrained(tmp_path)
    assert load_model(ModelConfig(name=str(tmp_path))).default_sampler == "flow_euler"
    change(tmp_path / "model_index.json", text_encoder_2=[None, None])
    with pytest.raises(ModelError, match="names no library and class for text_encoder_2"):
        pinned(ModelConfig(name=str(tmp_path)))


CLIP_DAMAGES = {
    "a pointer": (lambda f: (f / "model.safetensors").write_text(POINTER), "model.safetensors is a Git LFS pointer"),
    "no processor": (lambda f: (f / "preprocessor_config.json").unlink(), "preprocessor_config.json is not there"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "has no tokenizer"),
    "null": (lambda f: change(f / "config.json", text_config=None), "text_config is None: expected is a section"),
    "another model": (lambda f: change(f / "config.json", model_type="siglip"), "of model_type 'siglip': only CLIP"),
}


@pytest.mark.parametrize("name", CLIP_DAMAGES)
def test_the_files_of_a_clip_model_tell(name: str, clip: Path) -> None:
    damage, message = CLIP_DAMAGES[name]
    damage(clip)  # type: ignore[no-untyped-call]
    with pytest.raises(ModelError, match=f"(?s)clip.name '{clip}' cannot be loaded.*{message}"):
        pinned_clip(ClipConfig(name=str(clip)))


def test_sound_folders_pass(folder: Path, clip: Path) -> None:
    pinned_clip(ClipConfig(name=str(clip)))
    assert load_clip(ClipConfig(name=str(clip))).name == str(clip)
    assert pinned(ModelConfig(name=str(folder))).revision


PARTS = {
    "unet": (UNET, "conv_in.bias"),
    "vae": ("vae/diffusion_pytorch_model.safetensors", "encoder.conv_in.bias"),
    "text_encoder": ("text_encoder/model.safetensors", "embeddings.token_embedding.weight"),
}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("how", ["missing", "another shape", "not expected"])
def test_networks_load_strictly(part: str, how: str, folder: Path) -> None:
    file, _ = PARTS[part]
    tensor = min(load_file(folder / file))

    def damage(tensors: dict[str, torch.Tensor]) -> None:
        if how == "not expected":
            tensors["more.weight"] = torch.zeros(3)
            return
        wrong = tensors.pop(tensor)
        if how == "another shape":
            tensors[tensor] = torch.zeros(*wrong.shape, 2)

    change_tensors(folder / file, damage)
    told = {
        "missing": rf"the file lacks 1 tensor \({tensor}\)",
        "another shape": rf"the file has in another shape 1 tensor \({tensor} \(.*, 2\) for \(.*\)\)",
        "not expected": r"the file has, but the network its config describes has not, 1 tensor \(more\.weight\)",
    }
    pinned(ModelConfig(name=str(folder)))  # the headers alone do not know the network
    with pytest.raises(ModelError, match=f"the weights of its {part} do not fit its config: {told[how]}"):
        load_model(ModelConfig(name=str(folder)))


def test_one_tensor_in_half_precision_is_no_obstacle(folder: Path) -> None:
    change_tensors(folder / UNET, lambda t: t.update({"conv_in.bias": t["conv_in.bias"].half()}))
    network = load_model(ModelConfig(name=str(folder))).network  # type: ignore[attr-defined]
    assert {tensor.dtype for tensor in network.parameters()} == {torch.float32}


def test_a_tokenizer_without_its_settings_is_limited_by_the_encoder(folder: Path) -> None:
    expected = load_model(ModelConfig(name=str(folder))).embed(["a fox"]).tokens
    (folder / "tokenizer/tokenizer_config.json").unlink()
    found = load_model(ModelConfig(name=str(folder))).embed(["a fox"]).tokens
    assert found.shape == expected.shape == (1, 16, 32)


def test_clip_loads_strictly(clip: Path) -> None:
    change_tensors(clip / "model.safetensors", lambda t: [t.pop(name) for name in sorted(t)[:5]])
    with pytest.raises(ModelError, match=r"the weights of its network .* lacks 5 tensors \(.*, .*, .* and 2 more\)"):
        load_clip(ClipConfig(name=str(clip)))


def test_positions_that_old_files_hold_are_not_read(folder: Path) -> None:
    name = "embeddings.position_ids"
    change_tensors(folder / PARTS["text_encoder"][0], lambda t: t.update({name: torch.arange(16)[None]}))
    load_model(ModelConfig(name=str(folder)))


@pytest.mark.parametrize("settings", [{"_class_name": "LMSDiscreteScheduler"}, {"use_beta_sigmas": True}])
def test_schedulers_that_need_a_package_are_read_without_it(settings: dict[str, object], folder: Path) -> None:
    expected = load_model(ModelConfig(name=str(folder))).schedule(4, "ddim")
    class_name = settings.get("_class_name", "EulerDiscreteScheduler")
    change(folder / "scheduler/scheduler_config.json", **{"_class_name": class_name, **settings})
    change(folder / "model_index.json", scheduler=["diffusers", class_name])
    model = load_model(ModelConfig(name=str(folder)))
    assert model.schedule(4, "ddim") == expected
    if "use_beta_sigmas" in settings:
        with pytest.raises(ModelError, match="use_beta_sigmas True of its scheduler is not supported with the euler"):
            model.schedule(4, "euler")
