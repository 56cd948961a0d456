"""A language model of transformers at toy size: it learns one answer by heart, and gives it as any model would."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from augment.errors import ModelError
from augment.models.text_generation import LocalLanguageModel
from augment.prompts.guards import Guards
from augment.prompts.llm import LanguageModelConfig
from augment.prompts.variations import Answer, Costs, ToVary, Variator

END = "<end>"
WANTED = ToVary("fox", "a fox in snow")


def saved_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    vocabulary = {char: i for i, char in enumerate(sorted(ByteLevel.alphabet()))} | {END: 256}
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer, tokenizer.decoder = ByteLevel(add_prefix_space=False), ByteLevelDecoder()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END)
    fast.save_pretrained(folder)
    return fast


class Question:
    """A model that writes down what it is asked."""

    def ask(self, system: str, user: str, seed: int, costs: Costs) -> Answer:
        self.text = f"{system}\n{user}\n"
        return Answer("", False, 0, 0)


def config(folder: Path, **changes: object) -> LanguageModelConfig:
    values = {"model": str(folder), "instructions": "Vary.", "temperature": 0, "max_tokens": 80, "max_rounds": 1}
    return LanguageModelConfig.model_validate(values | changes)


def variator(model: object, settings: LanguageModelConfig) -> Variator:
    return Variator(model, settings, Guards(("fox", "owl")))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that knows one answer to one question by heart."""
    folder = tmp_path_factory.mktemp("toy")
    tokenizer, question = saved_tokenizer(folder), Question()
    asked = variator(question, config(folder))
    asked.run([WANTED], {}, lambda _: None)
    answer = json.dumps({"prompts": [{"key": asked.key(WANTED), "texts": ["a fox in deep snow"]}]}) + END
    ids = torch.tensor([tokenizer(question.text + answer).input_ids])
    start = len(tokenizer(question.text).input_ids)
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=257, n_positions=512, n_embd=48, n_layer=1, n_head=2, eos_token_id=256, bos_token_id=256)
    )
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    labels = ids.clone()
    labels[:, :start] = -100
    for _ in range(200):
        loss = model(ids, labels=labels).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if loss < 0.01:
            break
    assert loss < 0.05
    model.save_pretrained(folder)
    return folder


def test_an_answer_is_the_continuation_of_the_question(folder: Path) -> None:
    asked = variator(LocalLanguageModel(config(folder)), config(folder))
    found = asked.run([WANTED], {}, lambda _: None)
    assert found == {asked.key(WANTED): ["a fox in deep snow"]}
    assert (asked.costs.requests, asked.costs.retries) == (1, {})
    said = json.dumps({"prompts": [{"key": "x" * 12, "texts": ["a fox in deep snow"]}]})
    assert asked.costs.completion_tokens == len(said) + 1


def test_an_answer_that_runs_into_the_limit_is_cut(folder: Path) -> None:
    settings = config(folder, max_tokens=20)
    asked = variator(LocalLanguageModel(settings), settings)
    assert asked.run([WANTED], {}, lambda _: None) == {asked.key(WANTED): []}
    assert (asked.costs.retries, asked.costs.completion_tokens) == ({"answer cut": 1}, 20)


def test_sampling_depends_on_the_seed_and_disturbs_no_other(folder: Path) -> None:
    model = LocalLanguageModel(config(folder, temperature=2.0, max_tokens=12))
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    texts = [model.ask("Say.", "something", seed, Costs()).text for seed in (1, 1, 2)]
    assert torch.equal(torch.rand(3), expected)
    assert texts[0] == texts[1] != texts[2]


def test_a_chat_template_is_used_where_there_is_one(folder: Path, tmp_path: Path) -> None:
    model = LocalLanguageModel(config(folder))
    costs = Costs()
    assert model.ask("S", "U", 0, costs).prompt_tokens == len("S\nU\n")
    model._tokenizer.chat_template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    assert model.ask("S", "U", 0, costs).prompt_tokens == len("<system>S<user>U")
    assert costs.requests == 2


def test_a_model_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"llm.model .*/nothing' cannot be loaded"):
        LocalLanguageModel(config(tmp_path / "nothing"))
