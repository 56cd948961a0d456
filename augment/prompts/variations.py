"""Prompts in other words, by a language model: asked in a JSON schema, read by key, kept if the guards let them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from pydantic import BaseModel, ValidationError

from augment.prompts.guards import Guards, Refusal
from augment.prompts.lengths import Reader, cut_prompt
from augment.prompts.llm import LanguageModelConfig
from augment.prompts.templates import noun
from augment.prompts.words import word_key

SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["prompts"],
    "properties": {
        "prompts": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["key", "texts"],
                "properties": {"key": {"type": "string"}, "texts": {"type": "array", "items": {"type": "string"}}},
            },
        }
    },
}
_FORM = (
    'Answer with JSON alone: {{"prompts": [{{"key": "...", "texts": [...]}}]}}. Repeat the key of each prompt, and '
    "write {count} texts for it."
)
_SCENE = "These prompts describe a scene without its subject, and so must yours: they name no subject at all."


class Answer(NamedTuple):
    """What a language model said.

    Attributes:
        text: of the answer.
        is_cut: whether it ran into the limit of its length.
        prompt_tokens, completion_tokens: of the request and of the answer.
    """

    text: str
    is_cut: bool
    prompt_tokens: int
    completion_tokens: int


@dataclass
class Costs:
    """What the variations have cost so far.

    Attributes:
        requests: answers that were asked for, again and again included.
        prompt_tokens, completion_tokens: as the model counts them; those of answers that were no use included.
        retries: reason -> number of requests, or of prompts, that were asked again.
        refused: kind -> number of texts that the guards refused.
    """

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    retries: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, Any]:
        """Return the content of `--json`."""
        return {
            "requests": self.requests,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "retries": dict(sorted(self.retries.items())),
            "refused": dict(sorted(self.refused.items())),
        }


class LanguageModel(Protocol):
    """Answers a question in JSON, if it can."""

    def ask(self, system: str, user: str, seed: int, costs: Costs) -> Answer:
        """Return an answer, and count what it cost.

        Raises:
            ModelError: if there is no answer to be had.
        """


class ToVary(NamedTuple):
    """A prompt of which variations are wanted; `class_name` is "" if it names the scene alone."""

    class_name: str
    prompt: str


class _Item(BaseModel):
    key: str
    texts: list[str]


class _Reply(BaseModel):
    prompts: list[_Item]


@dataclass(frozen=True)
class Variator:
    """Asks a language model for variations until the guards let enough of them pass.

    Attributes:
        model: answers.
        config: how many variations, how many prompts in one request, how often.
        guards: decide which texts may be prompts.
        readers: of the text-to-image model; a text that one of them does not read whole is refused.
        costs: what it has cost.
    """

    model: LanguageModel
    config: LanguageModelConfig
    guards: Guards
    readers: Sequence[Reader] = ()
    costs: Costs = field(default_factory=Costs)

    def key(self, wanted: ToVary) -> str:
        """Return the key of a prompt: a hash of all that its variations depend on."""
        content = [self.config.identity(), wanted.class_name, wanted.prompt]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    def run(
        self,
        wanted: Iterable[ToVary],
        known: Mapping[str, Sequence[str]],
        save: Callable[[Mapping[str, Sequence[str]]], None],
    ) -> dict[str, list[str]]:
        """Return key -> variations: `config.variations` of each prompt, or fewer where the model knows no more.

        Args:
            wanted: prompts.
            known: key -> variations of earlier runs; they pass the guards again, or are asked for anew.
            save: is given the variations of a prompt that one request has added to, at once.

        Raises:
            ModelError: if the model does not answer; what was saved stays.
        """
        by_key = {self.key(w): w for w in wanted}
        found = {key: self._passing(w, known.get(key, ()), count=False)[0] for key, w in by_key.items()}
        hints: dict[str, str] = {}
        for number in range(self.config.max_rounds):
            todo = [key for key in by_key if len(found[key]) < self.config.variations]
            if not todo:
                break
            if number:
                self.costs.retries["prompt without enough texts"] += len(todo)
            self._round(todo, by_key, found, hints, number, save)
        return found

    def _round(
        self,
        todo: Iterable[str],
        by_key: Mapping[str, ToVary],
        found: dict[str, list[str]],
        hints: dict[str, str],
        number: int,
        save: Callable[[Mapping[str, Sequence[str]]], None],
    ) -> None:
        """Ask once for each of some prompts, and add what passes to `found`.

        Args:
            hints: key -> why the last texts were refused.
            number: of the round, from 0: another one has other seeds.
        """
        queue, size = deque(todo), self.config.prompts_per_request
        while queue:
            keys = [queue.popleft() for _ in range(min(size, len(queue)))]
            answer = self._ask([(key, by_key[key], hints.get(key, "")) for key in keys], number)
            reply = _parsed(answer.text)
            if answer.is_cut and reply is None and len(keys) > 1:
                self.costs.retries["answer cut"] += 1
                size = max(1, len(keys) // 2)
                queue.extendleft(reversed(keys))
                continue
            if reply is None:
                self.costs.retries["answer cut" if answer.is_cut else "answer not in the form"] += 1
                continue
            before = {key: len(found[key]) for key in keys}
            self._take(reply, keys, by_key, found, hints)
            if more := {key: found[key] for key in keys if len(found[key]) > before[key]}:
                save(more)

    def _take(
        self,
        reply: _Reply,
        asked: Collection[str],
        by_key: Mapping[str, ToVary],
        found: dict[str, list[str]],
        hints: dict[str, str],
    ) -> None:
        for item in reply.prompts:
            if item.key not in asked:
                self.costs.refused["unknown key"] += len(item.texts)
                continue
            passing, why = self._passing(by_key[item.key], (*found[item.key], *item.texts), count=True)
            found[item.key] = passing[: self.config.variations]
            if why:
                hints[item.key] = why

    def _ask(self, items: Sequence[tuple[str, ToVary, str]], number: int) -> Answer:
        prompts = []
        for key, wanted, hint in items:
            item = {"key": key, "class": noun(wanted.class_name), "prompt": wanted.prompt, "refused": hint}
            prompts.append({name: value for name, value in item.items() if value})
        scene = "" if self.guards.names_class else f"{_SCENE}\n"
        system = f"{self.config.instructions}\n{scene}{_FORM.format(count=self.config.variations)}"
        user = json.dumps({"prompts": prompts}, ensure_ascii=False)
        seed = int(hashlib.sha256(f"{number} {user}".encode()).hexdigest()[:8], 16) >> 1
        return self.model.ask(system, user, seed, self.costs)

    def _passing(self, wanted: ToVary, texts: Iterable[str], *, count: bool) -> tuple[list[str], str]:
        """Return the texts that pass, each once, and why the last one that did not was refused, "" if all did."""
        seen, passing, why = {word_key(wanted.prompt)}, list[str](), ""
        for text in (" ".join(text.split()) for text in texts):
            refusal = self._refusal(text, wanted.class_name)
            if refusal is None and word_key(text) in seen:
                refusal = Refusal("duplicate", "it was there before")
            if refusal is None:
                seen.add(word_key(text))
                passing.append(text)
                continue
            why = f"{text[:80]!r}: {refusal.why}"
            if count:
                self.costs.refused[refusal.kind] += 1
        return passing, why

    def _refusal(self, text: str, class_name: str) -> Refusal | None:
        if refusal := self.guards.refusal(text, class_name):
            return refusal
        cut = cut_prompt(text, class_name, self.readers) if self.readers else None
        if cut is None:
            return None
        rest = text[len(min(cut.read.values(), key=len)) :].strip()
        return Refusal("too long", f"it is too long, the words {rest!r} would be cut")


def _parsed(text: str) -> _Reply | None:
    """Return the object in an answer, None if it has another form. Some models write words or a fence around it."""
    start, end = text.find("{"), text.rfind("}")
    if start < 0:
        return None
    try:
        return _Reply.model_validate_json(text[start : end + 1])
    except ValidationError:
        return None
