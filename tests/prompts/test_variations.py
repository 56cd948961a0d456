"""Variations by a model behind an endpoint that misbehaves: what is asked again, what is kept, what it costs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from augment.errors import ConfigError, ModelError
from augment.prompts.chat import ChatEndpoint
from augment.prompts.guards import Guards
from augment.prompts.llm import LanguageModelConfig
from augment.prompts.variations import ToVary, Variator
from tests.closed_port import closed_port
from tests.prompts.chat_server import ChatServer, Prompt, Reply, chat_server

KEY = "sk-very-secret-0123456789"
WANTED = [ToVary("fox", "a fox in snow"), ToVary("owl", "an owl at night"), ToVary("fox", "a fox at night")]


def behave(prompt: Prompt) -> list[str]:
    return [f"{prompt['prompt']}, seen from afar", f"a close look at {prompt['prompt']}"]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("TOY_KEY", KEY)
    with chat_server(behave) as running:
        yield running


class Run:
    """One run of the variator, with its waits and what it saved."""

    def __init__(self, server: ChatServer, known: Mapping[str, Sequence[str]] | None = None, **changes: Any) -> None:
        self.waits: list[float] = []
        self.saved: dict[str, Sequence[str]] = {}
        config = server.config(**changes)
        self.variator = Variator(ChatEndpoint(config, self.waits.append), config, Guards(("fox", "owl", "bear")))
        self.found = self.variator.run(WANTED, known or {}, self.saved.update)
        self.costs = self.variator.costs

    def texts(self) -> list[list[str]]:
        """The variations of each wanted prompt, in order."""
        return [self.found[self.variator.key(w)] for w in WANTED]


def test_answers_are_matched_by_key_and_paid_for_once(server: ChatServer) -> None:
    run = Run(server, variations=2)
    assert run.texts() == [behave({"prompt": w.prompt}) for w in WANTED]  # though the answer has them in reverse order
    assert run.saved == run.found
    (asked,) = server.asked
    assert (asked["path"], asked["model"]) == ("/v1/chat/completions", "toy")
    assert asked["response_format"]["json_schema"]["schema"]["required"] == ["prompts"]
    assert [(p["class"], p["prompt"]) for p in server.prompts(0)] == [(w.class_name, w.prompt) for w in WANTED]
    assert run.costs.as_dict() == {
        "requests": 1,
        "prompt_tokens": 100,
        "completion_tokens": 7,
        "retries": {},
        "refused": {},
    }
    again = Run(server, known=run.saved, variations=2)
    assert (again.texts(), len(server.asked), again.costs.requests) == (run.texts(), 1, 0)


@pytest.mark.parametrize(
    ("reply", "reason", "wait"),
    [
        (Reply(429, {"Retry-After": "7"}, "slow down"), "HTTP 429", 7.0),
        (Reply(429, {"Retry-After": "86400"}, "slow down"), "HTTP 429", 60.0),
        (Reply(429, {"Retry-After": "nan"}, "slow down"), "HTTP 429", 0.0),
        (Reply(503, {}, "<html>busy</html>"), "HTTP 503", 1.0),
        (Reply(missing=30), "half an answer", 1.0),
        (Reply(body='{"choices": [{"mess'), "answer of another shape", 1.0),
        (Reply(body="<html>hello</html>"), "answer of another shape", 1.0),
        (Reply(body='{"choices": []}'), "answer of another shape", 1.0),
    ],
)
def test_a_busy_or_broken_endpoint_is_asked_again(server: ChatServer, reply: Reply, reason: str, wait: float) -> None:
    server.replies = [reply]
    run = Run(server)
    assert run.texts() == [behave({"prompt": w.prompt})[:1] for w in WANTED]
    assert (run.waits, dict(run.costs.retries), run.costs.requests) == ([wait], {reason: 1}, 2)
    assert server.asked[0] == server.asked[1]


def test_waits_grow_and_end(server: ChatServer) -> None:
    server.replies = [Reply(500, {}, "no")] * 4
    with pytest.raises(ModelError, match=r"HTTP 500, 4 times in a row: no\. Look at llm.endpoint"):
        Run(server, max_retries=3)
    assert len(server.asked) == 4
    server.replies = [Reply(500, {}, "no")] * 3
    assert Run(server, max_retries=3).waits == [1.0, 2.0, 4.0]


def test_nobody_there_is_an_error_that_names_the_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with closed_port() as port:
        gone = ChatServer(f"http://127.0.0.1:{port}/v1", behave)
        with pytest.raises(ModelError, match=rf"{gone.url}: no connection, 2 times in a row"):
            Run(gone, max_retries=1)


def test_answers_in_another_form_are_asked_for_again_with_another_seed(server: ChatServer) -> None:
    server.replies = [Reply(content="Here you are!"), Reply(content='{"prompts": [{"key": 1}]}')]
    run = Run(server)
    assert run.texts() == [behave({"prompt": w.prompt})[:1] for w in WANTED]
    assert dict(run.costs.retries) == {"answer not in the form": 2, "prompt without enough texts": 6}
    assert len({asked["seed"] for asked in server.asked}) == 3


def test_words_and_fences_around_an_answer_are_no_harm(server: ChatServer) -> None:
    key = Variator(ChatEndpoint(server.config()), server.config(), Guards(())).key(WANTED[0])
    said = json.dumps({"prompts": [{"key": key, "texts": ["a fox in fresh snow"]}]})
    server.replies = [Reply(content=f"Sure!\n```json\n{said}\n```")]
    assert Run(server).texts()[0] == ["a fox in fresh snow"]


def test_after_an_answer_that_was_cut_fewer_are_asked_for(server: ChatServer) -> None:
    server.replies = [Reply(content='{"prompts": [{"key": "a', finish_reason="length")]
    run = Run(server)
    assert run.texts() == [behave({"prompt": w.prompt})[:1] for w in WANTED]
    assert [len(server.prompts(i)) for i in range(len(server.asked))] == [3, 1, 1, 1]
    assert dict(run.costs.retries) == {"answer cut": 1}
    assert run.costs.completion_tokens == 4 * 7


def test_texts_that_the_guards_refuse_are_asked_for_again_with_the_reason(server: ChatServer) -> None:
    server.replies = [Reply(write=lambda p: ["a bear in snow", f"{p['prompt']} with a bear", p["prompt"].upper(), ""])]
    run = Run(server)
    assert run.texts() == [behave({"prompt": w.prompt})[:1] for w in WANTED]
    kinds = {"another class": 3, "class word lost": 3, "duplicate": 3, "empty": 3}
    assert dict(run.costs.refused) == kinds
    assert all(p["refused"] == "'': it is empty" for p in server.prompts(1))


def test_keys_that_nobody_asked_for_are_left_alone(server: ChatServer) -> None:
    said = {"prompts": [{"key": "other", "texts": ["a fox in the sun"]}]}
    server.replies = [Reply(content=json.dumps(said))]
    run = Run(server)
    assert run.costs.refused["unknown key"] == 1
    assert not any("a fox in the sun" in texts for texts in run.texts())


def test_what_a_model_cannot_vary_stays_and_the_rest_is_saved(server: ChatServer) -> None:
    server.write = lambda p: behave(p) if p["class"] == "owl" else ["a bear"]
    run = Run(server, max_rounds=2)
    assert run.texts() == [[], ["an owl at night, seen from afar"], []]
    assert list(run.saved.values()) == [["an owl at night, seen from afar"]]
    assert [len(server.prompts(i)) for i in range(len(server.asked))] == [3, 2]


def test_what_is_not_enough_is_saved_too(server: ChatServer) -> None:
    server.write = lambda p: [f"{p['prompt']} at night", "a bear"]
    run = Run(server, variations=2, max_rounds=1)
    assert sorted(map(tuple, run.saved.values())) == sorted((f"{w.prompt} at night",) for w in WANTED)


def test_texts_that_are_not_read_whole_are_refused_with_the_words_that_would_be_cut(server: ChatServer) -> None:
    class Eight:
        name, length = "text_encoder", 8

        def count(self, text: str) -> int:
            return len(text.split())

        def read(self, text: str) -> str:
            return " ".join(text.split()[:8])

    server.write = lambda p: [f"{p['prompt']} far away under very old trees", f"{p['prompt']} again"]
    config = server.config(max_rounds=1)
    variator = Variator(ChatEndpoint(config), config, Guards(("fox", "owl")), (Eight(),))
    found = variator.run(WANTED, {}, lambda _: None)
    assert found[variator.key(WANTED[0])] == ["a fox in snow again"]
    assert variator.costs.refused["too long"] == 3
    server.write = lambda p: [f"{p['prompt']} far away under very old trees"]
    variator.run(WANTED, {}, lambda _: None)
    variator = Variator(ChatEndpoint(config), server.config(max_rounds=2), Guards(("fox", "owl")), (Eight(),))
    variator.run(WANTED[:1], {}, lambda _: None)
    assert "the words 'old trees' would be cut" in server.prompts(-1)[0]["refused"]


# ---- the key --------------------------------------------------------------------------------------------------------
def test_the_key_goes_to_the_endpoint_and_into_no_message(server: ChatServer) -> None:
    Run(server, key_env="TOY_KEY")
    assert server.keys == [f"Bearer {KEY}"]
    server.replies = [Reply(401, {}, f"x{'y' * 280}, wrong key {KEY}, was it {KEY}?")]
    with pytest.raises(ModelError, match="HTTP 401") as caught:
        Run(server, key_env="TOY_KEY")
    assert "wrong key" in str(caught.value)
    assert KEY[:6] not in str(caught.value)
    assert KEY not in repr(ChatEndpoint(server.config(key_env="TOY_KEY")))
    assert len(server.asked) == 2  # a refusal is not asked again


def test_without_a_variable_for_it_there_is_no_key(server: ChatServer) -> None:
    Run(server)
    assert server.keys == [None]


def test_the_key_follows_no_redirect(server: ChatServer) -> None:
    with chat_server(behave) as other:
        server.replies = [Reply(302, {"Location": f"{other.url}/chat/completions"}, "")]
        with pytest.raises(ModelError, match="HTTP 302"):
            Run(server, key_env="TOY_KEY")
        assert other.asked == []


@pytest.mark.parametrize(("value", "message"), [("", "is not set"), ("sk-se\ncret", "characters that no key has")])
def test_a_key_that_cannot_be_one_is_said_before_anything_is_asked(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch, value: str, message: str
) -> None:
    monkeypatch.setenv("TOY_KEY", value)
    with pytest.raises(ConfigError, match=message) as caught:
        Run(server, key_env="TOY_KEY")
    assert "'TOY_KEY'" in str(caught.value) and "cret" not in str(caught.value)
    assert server.asked == []


@pytest.mark.parametrize("endpoint", ["localhost:8000/v1", "ftp://host/v1", "https://me:secret@host/v1"])
def test_an_endpoint_is_http_without_a_password(endpoint: str) -> None:
    with pytest.raises(ValueError, match="must begin with http"):
        LanguageModelConfig(model="toy", endpoint=endpoint)
