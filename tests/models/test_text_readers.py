"""What tokenizers alone tell of prompts, against what transformers' tokenizers give the encoders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.models import BPE
from transformers import AutoTokenizer, CLIPTokenizer

from augment.errors import ModelError
from augment.models.config import ClipConfig, ModelConfig
from augment.models.text_readers import TextReader, clip_reader, model_readers
from augment.tiny.packaged import WEIGHTS
from tests import pipelines

SENTENCES = (
    "a picture of a fox on snow",
    "  An OWL, it's  on\nsnow (1.5)! ",
    "a picture of caf\u00e9 \u96ea\u306e\u4e0a\u306b \u2744 fox",
    "a fox " * 300,
    "",
)


@pytest.fixture(scope="module", params=["sd", "lcm", "sdxl", "sd3", "sd3_without_t5", "flux"])
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    make = {
        "sd": pipelines.stable_diffusion,
        "lcm": pipelines.latent_consistency,
        "sdxl": pipelines.stable_diffusion_xl,
        "sd3": pipelines.stable_diffusion_3,
        "sd3_without_t5": lambda: pipelines.stable_diffusion_3(with_t5=False),
        "flux": lambda: pipelines.flux(guidance_embeds=False, use_dynamic_shifting=False),
    }[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    make().save_pretrained(folder)
    lengths = {
        "sd": {"tokenizer": 16},
        "lcm": {"tokenizer": 16},
        "sdxl": {"tokenizer": 16, "tokenizer_2": 16},
        "sd3": {"tokenizer": 16, "tokenizer_2": 16, "tokenizer_3": 256},
        "sd3_without_t5": {"tokenizer": 16, "tokenizer_2": 16},
        "flux": {"tokenizer": 16, "tokenizer_2": 512},
    }[request.param]
    return lengths, folder


def test_readers_count_as_the_pipeline_does(saved: tuple[dict[str, int], Path]) -> None:
    lengths, folder = saved
    readers = model_readers(ModelConfig(name=str(folder)))
    assert {reader.name: reader.length for reader in readers} == lengths
    for reader in readers:
        theirs = AutoTokenizer.from_pretrained(folder / reader.name)
        for sentence in SENTENCES:
            ids = theirs(sentence, truncation=False).input_ids
            assert reader.tokenizer.encode(sentence).ids == ids
            assert reader.count(sentence) == len(ids)
            assert (reader.read(sentence) == sentence) == (len(ids) <= reader.length)


def test_what_is_read_gives_the_tokens_that_the_encoder_gets(saved: tuple[dict[str, int], Path]) -> None:
    _, folder = saved
    for reader in model_readers(ModelConfig(name=str(folder))):
        theirs = AutoTokenizer.from_pretrained(folder / reader.name)
        for sentence in SENTENCES:
            seen = theirs(sentence, truncation=True, max_length=reader.length).input_ids
            read = theirs(reader.read(sentence), truncation=False).input_ids
            assert len(read) <= reader.length
            assert seen[: len(read) - 1] == read[:-1]  # the last is the end of the text


def test_clip_from_vocabulary_and_merges(tmp_path: Path) -> None:
    content = json.loads((WEIGHTS / "pipeline/tokenizer/tokenizer.json").read_text())["model"]
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer/vocab.json").write_text(json.dumps(content["vocab"]))
    merges = [" ".join(pair) for pair in content["merges"]]
    (tmp_path / "tokenizer/merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))
    (tmp_path / "tokenizer/tokenizer_config.json").write_text('{"model_max_length": 77}')
    index = {"_class_name": "StableDiffusionPipeline", "tokenizer": ["transformers", "CLIPTokenizer"]}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    theirs = CLIPTokenizer.from_pretrained(tmp_path / "tokenizer")
    (reader,) = model_readers(ModelConfig(name=str(tmp_path)))
    assert reader.length == 77
    for sentence in SENTENCES:
        assert reader.tokenizer.encode(sentence).ids == theirs(sentence, truncation=False).input_ids


def embedded() -> TextReader:
    (reader,) = model_readers(ModelConfig())
    return reader


def test_a_word_that_is_not_read_whole_is_not_read() -> None:
    assert (embedded().count("a fox"), embedded().length) == (4, 16)
    assert embedded().read("a fox " * 7) == "a fox " * 7
    assert embedded().read("a fox " * 7 + "on snow") == ("a fox " * 7).strip()
    assert embedded().read("a picture of a zzzzzzzzzzzzzzzzzz") == "a picture of a"
    assert embedded().read("z" * 40) == ""
    assert embedded().read("a fox, " * 7) == "a fox, a fox, a fox, a fox, a fox"  # 3 tokens each


def test_words_that_a_small_vocabulary_spells_in_pieces(tmp_path: Path) -> None:
    assert embedded().unknown_words("a red fox on snow") == ["red"]
    assert embedded().unknown_words("Fox") == []
    vocabulary = {f"w{i}": i for i in range(3000)} | {"a": 3000, "b": 3001, "ab": 3002}
    large = Tokenizer(BPE(vocab=vocabulary, merges=[]))
    assert TextReader("large", 77, large).unknown_words("ab") == []


def test_the_scoring_model_has_a_reader() -> None:
    reader = clip_reader(ClipConfig())
    assert reader is not None
    assert (reader.name, reader.length, reader.count("a fox")) == ("clip", 16, 4)


@pytest.mark.parametrize("name", ["-x/y", "no such folder/model", "owner/" + "x" * 300])
def test_names_that_cannot_be_on_the_hub_have_none(name: str) -> None:
    assert model_readers(ModelConfig(name=name)) == ()
    assert clip_reader(ClipConfig(name=name)) is None


def test_models_that_are_not_downloaded_have_none() -> None:
    assert model_readers(ModelConfig(name="someone/absent")) == ()
    assert clip_reader(ClipConfig(name="someone/absent")) is None


def test_damaged_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text("[]")
    with pytest.raises(ModelError, match=r"model_index\.json holds no JSON object; download or save"):
        model_readers(ModelConfig(name=str(tmp_path)))
    (tmp_path / "model_index.json").write_text(
        '{"_class_name": "StableDiffusionPipeline", "tokenizer": ["transformers", "CLIPTokenizer"]}'
    )
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer/tokenizer.json").write_text('{"model": ')
    with pytest.raises(ModelError, match=r"tokenizer/tokenizer\.json cannot be read .*download or save"):
        model_readers(ModelConfig(name=str(tmp_path)))
