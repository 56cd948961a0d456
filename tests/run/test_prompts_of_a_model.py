"""The table of prompts that a language model varies."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from augment.errors import ConfigError, ModelError
from augment.run.prompt_stage import make_prompts
from tests.prompts.chat_server import ChatServer, Prompt, Reply, chat_server, prompts_of
from tests.run.growing import GrowingJob
from tests.run.prompt_jobs import make, published_prompts, rows, table, two_classes

KEY = "sk-very-secret-0123456789"


@pytest.fixture
def job(tmp_path: Path) -> GrowingJob:
    return two_classes(tmp_path)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("TOY_KEY", KEY)
    with chat_server(lambda p: [p["prompt"].removeprefix("a picture of ")]) as running:
        yield running


def with_llm(job: GrowingJob, server: ChatServer, **more: object) -> GrowingJob:
    job.prompts["llm"] = {"model": "toy", "endpoint": server.url, "key_env": "TOY_KEY", "prompts_per_request": 3} | more
    return job


def test_a_run_waits_for_the_words_of_the_model(job: GrowingJob, server: ChatServer) -> None:
    with_llm(job, server)
    with pytest.raises(ConfigError, match=r"llm: no prompts are in .*/out/prompts yet. Let the model write"):
        job.expand()
    report = make(job)
    assert (report.as_before, report.cached, report.costs.requests) == (0, 0, -(-report.varied // 3))
    assert not any("picture" in row["prompt"] for row in rows(job))
    made = pq.read_table(job.out / "prompts" / "prompts.parquet").to_pylist()
    assert {row["varied_from"].partition(" of ")[0] for row in made} == {"a picture"}
    job.expand()
    assert set(published_prompts(job).values()) == {row["prompt"] for row in rows(job)}


def test_every_prompt_passes_whatever_the_model_does_and_the_key_is_nowhere(
    job: GrowingJob, server: ChatServer, every_logger: pytest.LogCaptureFixture
) -> None:
    every_logger.set_level(logging.DEBUG)

    def of_another_class(prompt: Prompt) -> list[str]:
        return [prompt["prompt"].replace("fox", "owl").replace("owl", "fox")]

    server.replies = [
        Reply(429, {"Retry-After": "0"}, f"too many for {KEY}"),
        Reply(write=of_another_class),
        Reply(missing=40),
        Reply(content="no JSON"),
        Reply(content='{"prompts": [{"k', finish_reason="length"),
        Reply(body='{"choices": '),
    ]
    report = make_prompts(with_llm(job, server).load(job.out), say=lambda line: logging.info(line))
    retries = report.costs.retries
    assert {name: retries[name] for name in ("HTTP 429", "half an answer", "answer cut", "answer not in the form")} == {
        "HTTP 429": 1,
        "half an answer": 1,
        "answer cut": 1,
        "answer not in the form": 1,
    }
    assert report.costs.requests == len(server.asked)
    assert sum(report.costs.refused.values()) > 0
    for row in rows(job):
        assert row["class_name"] in row["prompt"].split()
        assert len({"fox", "owl"} & set(row["prompt"].split())) == 1
    job.expand()
    assert server.keys == [f"Bearer {KEY}"] * len(server.asked)
    for path in job.folder.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path
    assert KEY not in every_logger.text and KEY not in "\n".join(report.lines())


def test_what_was_answered_is_not_asked_again(job: GrowingJob, server: ChatServer) -> None:
    with_llm(job, server, max_retries=0)
    server.replies = [Reply(), Reply(500, {}, "broken")]
    with pytest.raises(ModelError, match="HTTP 500"):
        make(job)
    assert not table(job).exists()
    report = make(job)
    assert report.cached == 3
    asked = [p["key"] for i in (0, *range(2, len(server.asked))) for p in server.prompts(i)]
    assert len(asked) == len(set(asked)) == report.varied
    before, count = rows(job), len(server.asked)
    again = make(job)
    assert (again.cached, again.costs.requests, len(server.asked), rows(job)) == (report.varied, 0, count, before)
    job.prompts["llm"]["temperature"] = 0.1  # another question
    assert make(job).cached == 0


def test_images_take_turns_with_the_variations(job: GrowingJob, server: ChatServer) -> None:
    job.prompts = {"templates": ["a picture of {a_class}"]}
    server.write = lambda p: [f"{adjective} {p['class']}" for adjective in ("red", "small", "old", "young")]
    report = make(with_llm(job, server, variations=4))
    assert report.varied == 2
    prompts = [row["prompt"] for row in rows(job)]
    assert {prompt.split()[0] for prompt in prompts} <= {"red", "small", "old", "young"}
    assert len(set(prompts)) > 2
    assert all(first != second for first, second in zip(prompts[::2], prompts[1::2], strict=True))
    make(job)
    assert [row["prompt"] for row in rows(job)] == prompts


def test_a_model_that_varies_scenes_is_told_no_class(job: GrowingJob, server: ChatServer) -> None:
    job.prompts = {"templates": ["a picture on snow"], "source_template": "a picture", "scene_only": True}
    server.write = lambda p: ["a picture of a fox", "a scene on snow"]
    report = make(with_llm(job, server))
    assert (report.varied, report.costs.refused) == (1, {"another class": 1})
    assert {row["prompt"] for row in rows(job)} == {"a scene on snow"}
    (asked,) = server.asked
    assert prompts_of(asked)[0].keys() == {"key", "prompt"}
    assert "they name no subject at all" in asked["messages"][0]["content"]
