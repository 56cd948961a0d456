"""Models of transformers that describe pictures, at toy size: what they are asked, and what is taken for the answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ImageColor
from safetensors.torch import load_file, save_file

from augment.errors import ModelError
from augment.models.captioner import Captioner, load_captioner
from augment.prompts.captioner import CaptionerConfig
from augment.prompts.variations import Answer
from tests.caption_models import blip, llava

KNOWN = {"red": "a fox on snow.", "blue": "a fox. At night."}


def config(folder: Path, **changes: object) -> CaptionerConfig:
    return CaptionerConfig.model_validate({"model": str(folder), "instructions": "Say {class}"} | changes)


def picture(colour: str, side: int = 16) -> np.ndarray:
    return np.full((side, side, 3), ImageColor.getrgb(colour), np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return llava(tmp_path_factory.mktemp("llava"), KNOWN, "Say fox")


@pytest.fixture(scope="module")
def captioner(folder: Path) -> Captioner:
    return load_captioner(config(folder))


def test_each_picture_has_its_caption_in_any_order(captioner: Captioner) -> None:
    assert captioner.chats
    said = {colour: captioner.describe(picture(colour), "Say fox", "") for colour in ("red", "blue", "red")}
    assert {colour: answer.text for colour, answer in said.items()} == KNOWN
    for colour, answer in said.items():
        assert (answer.is_cut, answer.completion_tokens) == (False, len(KNOWN[colour]) + 1)
        assert answer.prompt_tokens == 4 + len("Say fox:")  # 4 patches of the picture
    assert captioner.describe(picture("blue", 61), "Say fox", "").text == KNOWN["blue"]


def test_a_caption_goes_on_from_its_prefix(captioner: Captioner) -> None:
    answer = captioner.describe(picture("red"), "Say fox", "a fox")
    assert (answer.text, answer.completion_tokens) == ("a fox on snow.", len(" on snow.") + 1)


def test_what_runs_into_the_limit_is_cut(folder: Path) -> None:
    assert load_captioner(config(folder, max_tokens=5)).describe(picture("red"), "Say fox", "") == Answer(
        "a fox", True, 12, 5
    )


def test_chance_and_the_settings_of_the_folder_have_no_part(captioner: Captioner, folder: Path) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = captioner.describe(picture("green"), "What?", "")
    assert torch.equal(torch.get_rng_state(), before)
    again = load_captioner(config(folder))
    again._network.generation_config.do_sample = True
    again._network.generation_config.num_beams = 3
    assert again.describe(picture("green"), "What?", "") == first


def test_half_precision(folder: Path) -> None:
    made = load_captioner(config(folder, dtype="bfloat16"))
    assert made._network.dtype == torch.bfloat16
    assert made.describe(picture("red"), "Say fox", "").text == KNOWN["red"]


def test_blip_goes_on_from_a_prefix_and_is_told_nothing(tmp_path: Path) -> None:
    made = load_captioner(config(blip(tmp_path, "a picture of fox owl on snow"), max_tokens=6, instructions=None))
    assert not made.chats
    answer = made.describe(picture("red"), "", "a picture of a fox")
    assert answer.text.startswith("a picture of a fox ")
    assert 1 <= answer.completion_tokens <= 6
    assert len(answer.text.split()) - 5 <= answer.completion_tokens
    alone = made.describe(picture("red"), "", "")
    assert not alone.text.startswith("a picture of a fox")
    assert alone == made.describe(picture("red"), "", "")


def test_what_a_model_cannot_be_asked_is_explained(tmp_path: Path) -> None:
    llava(tmp_path)
    for name in ("chat_template.jinja", "processor_config.json"):
        assert (tmp_path / name).exists()
    (tmp_path / "chat_template.jinja").unlink()
    made = load_captioner(config(tmp_path))
    assert not made.chats
    with pytest.raises(ModelError, match=r"cannot be asked about a picture .* with its image token"):
        made.describe(picture("red"), "Say", "")
    assert made.describe(picture("red"), "<image>Say", "").prompt_tokens == 4 + len("Say ")


def test_weights_that_are_missing_are_named(tmp_path: Path) -> None:
    weights = llava(tmp_path) / "model.safetensors"
    tensors = load_file(weights)
    del tensors[next(name for name in sorted(tensors) if "multi_modal_projector" in name)]
    save_file(tensors, weights, {"format": "pt"})
    with pytest.raises(ModelError, match=r"caption.model .* the weights of its network do not fit .* lacks 1 tensor"):
        load_captioner(config(tmp_path))


def test_what_is_no_such_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"caption.model .*/nothing': its processor cannot be loaded"):
        load_captioner(config(tmp_path / "nothing"))
    from tests.models.test_text_generation import saved_tokenizer

    saved_tokenizer(tmp_path)
    with pytest.raises(ModelError, match=r"caption.model"):
        load_captioner(config(tmp_path))
