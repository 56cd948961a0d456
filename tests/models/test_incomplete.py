"""Models of which something is missing that the libraries would fill in: refused, or read as the model reads it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from augment.config import load_config
from augment.errors import ModelError
from augment.evaluation.benchmark import BenchmarkConfig, run_benchmark
from augment.models.config import ModelConfig, folder_digest, pinned
from augment.models.load import load_model
from augment.models.text_generation import LocalLanguageModel
from augment.models.text_readers import model_readers
from augment.prompts.llm import LanguageModelConfig
from augment.tiny.packaged import WEIGHTS
from tests.pipelines import flux, stable_diffusion, stable_diffusion_3, stable_diffusion_xl

PIPELINES: dict[str, Callable[[], Any]] = {
    "sd": stable_diffusion,
    "sdxl": stable_diffusion_xl,
    "sd3": stable_diffusion_3,
    "flux": lambda: flux(guidance_embeds=True, use_dynamic_shifting=True),
}
ROOT = Path(__file__).parents[2]
SCHEDULER, VAE = "scheduler/scheduler_config.json", "vae/config.json"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    for name, make in PIPELINES.items():
        make().save_pretrained(folder / name)
    return folder


@pytest.fixture
def model_of(saved: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A sound pipeline, to be changed."""
    return lambda name: Path(shutil.copytree(saved / name, tmp_path / name))


def change(path: Path, without: tuple[str, ...] = (), **values: object) -> None:
    content = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in content.items() if key not in without}))


# ---- fields without a default that is surely right ------------------------------------------------------------------
REFUSED = [
    ("sd", SCHEDULER, ("beta_start", "beta_end", "beta_schedule"), "does not say beta_start, beta_end, beta_schedule"),
    ("sd", SCHEDULER, ("beta_end",), "does not say beta_end"),
    ("sdxl", SCHEDULER, ("beta_schedule",), "does not say beta_schedule"),
    ("sdxl", VAE, ("scaling_factor",), "does not say scaling_factor"),
    ("sd3", VAE, ("shift_factor",), "does not say shift_factor"),
    ("sd3", SCHEDULER, ("shift",), "does not say shift"),
    ("flux", VAE, ("scaling_factor",), "does not say scaling_factor"),
    ("flux", SCHEDULER, ("base_shift",), "does not say base_shift"),
]


@pytest.mark.parametrize(("name", "file", "fields", "message"), REFUSED)
def test_numbers_that_training_chose_are_not_guessed(
    name: str, file: str, fields: tuple[str, ...], message: str, model_of: Callable[[str], Path]
) -> None:
    folder = model_of(name)
    change(folder / file, without=fields)
    with pytest.raises(ModelError, match=f"{file} {message}.*take the file of the model's authors"):
        pinned(ModelConfig(name=str(folder)))
    change(folder / file, **dict.fromkeys(fields))
    with pytest.raises(ModelError, match=rf"{file}.*{fields[0]}"):  # null is no better
        pinned(ModelConfig(name=str(folder)))


ALLOWED = [
    ("sd", VAE, ("scaling_factor", "shift_factor"), {}),  # as old configs of Stable Diffusion 1 are
    ("sd", SCHEDULER, ("prediction_type", "timestep_spacing", "rescale_betas_zero_snr"), {}),
    ("sd", SCHEDULER, ("beta_start", "beta_end", "beta_schedule"), {"trained_betas": [0.01] * 1000}),
    ("sdxl", VAE, ("shift_factor",), {}),
    ("flux", SCHEDULER, ("shift",), {}),  # it is of no effect where the shift is dynamic
]


@pytest.mark.parametrize(("name", "file", "fields", "values"), ALLOWED)
def test_what_configs_of_the_hub_leave_out_may_be_left_out(
    name: str, file: str, fields: tuple[str, ...], values: dict[str, Any], model_of: Callable[[str], Path]
) -> None:
    folder = model_of(name)
    change(folder / file, without=fields, **values)
    assert pinned(ModelConfig(name=str(folder))).revision


# ---- tokenizers -----------------------------------------------------------------------------------------------------
def split_tokenizer(folder: Path) -> Path:
    """Write the tokenizer as most models of the hub have it, and return its file of merges."""
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *map(" ".join, model["merges"]), ""]))
    return folder / "merges.txt"


def test_files_that_a_tokenizer_is_read_from_are_part_of_a_revision(model_of: Callable[[str], Path]) -> None:
    folder = model_of("sd")
    merges = split_tokenizer(folder / "tokenizer")
    with_both = folder_digest(folder)
    merges.write_text("#version: 0.2\n")
    assert folder_digest(folder) == with_both  # tokenizer.json is what is read
    (folder / "tokenizer/tokenizer.json").unlink()
    found = {folder_digest(folder)}
    merges.write_text("#version: 0.2\na b\n")
    found.add(folder_digest(folder))
    (folder / "tokenizer/spiece.model").write_bytes(b"pieces")
    found.add(folder_digest(folder))
    (folder / "tokenizer/vocab.txt").write_text("fox")
    assert len(found | {folder_digest(folder)}) == 4


def test_revisions_of_folders_with_whole_tokenizers_stay(tmp_path: Path) -> None:
    shutil.copytree(WEIGHTS / "clip", tmp_path / "clip")
    before = folder_digest(tmp_path / "clip")
    (tmp_path / "clip/LICENSE.txt").write_text("free")
    split_tokenizer(tmp_path / "clip")
    (tmp_path / "clip/vocab.json").unlink()
    assert folder_digest(tmp_path / "clip") == before


@pytest.mark.parametrize("limit", [16, 12, None, 10**30, 1e30])
def test_prompts_are_cut_where_the_encoder_has_no_more_positions(
    limit: float | None, model_of: Callable[[str], Path]
) -> None:
    folder = model_of("sd")
    settings = folder / "tokenizer/tokenizer_config.json"
    change(settings, **({"model_max_length": limit} if limit else {}), without=() if limit else ("model_max_length",))
    (reader,) = model_readers(ModelConfig(name=str(folder)))
    assert reader.length == (12 if limit == 12 else 16)
    if not isinstance(limit, float):  # which the model itself refuses
        model: Any = load_model(ModelConfig(name=str(folder)))
        assert reader.length == model._prompt_length


def test_encoders_that_read_at_one_length_have_readers_of_one_length(model_of: Callable[[str], Path]) -> None:
    folder = model_of("sd3")
    change(folder / "tokenizer_2/tokenizer_config.json", model_max_length=12)
    assert [reader.length for reader in model_readers(ModelConfig(name=str(folder)))] == [12, 12, 256]


# ---- weights --------------------------------------------------------------------------------------------------------
def test_a_language_model_loads_strictly(tmp_path: Path) -> None:
    shutil.copytree(WEIGHTS / "pipeline/tokenizer", tmp_path, dirs_exist_ok=True)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_key_value_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=400, num_hidden_layers=2, **sizes)).save_pretrained(tmp_path)
    settings = LanguageModelConfig(model=str(tmp_path), instructions="Vary.")
    LocalLanguageModel(settings)
    weights = load_file(tmp_path / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if ".layers.1." not in name}
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"llm\.model '.*': the weights of its network do not fit .* lacks 9 tensors"):
        LocalLanguageModel(settings)


def test_a_revision_that_is_not_that_of_the_weights_is_refused(tmp_path: Path, model_of: Callable[[str], Path]) -> None:
    with pytest.raises(ModelError, match=r"model\.revision 'deadbeef' was asked for, but .*'43a6"):
        load_model(ModelConfig(revision="deadbeef"))
    for name in ("embedded", str(model_of("sd"))):
        overrides = ["num_images=1", f"model={{name: {name}, revision: deadbeef}}"]
        config = load_config(ROOT / "configs/benchmark/editing.yaml", BenchmarkConfig, overrides)
        with pytest.raises(ModelError, match=r"model\.revision 'deadbeef' was asked for"):
            run_benchmark(config, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_pinned_folder_loads_as_it_is(model_of: Callable[[str], Path]) -> None:
    config = pinned(ModelConfig(name=str(model_of("sd"))))
    assert load_model(config).revision == config.revision
    assert torch.is_tensor(load_model(config).embed(["a fox"]).tokens)
