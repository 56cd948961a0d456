"""Captions for the images of a job that came without one: asked of a model once, and kept with the prompts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from augment.errors import ImageError, InputError, UnreachableError
from augment.inputs.fit import Fit
from augment.inputs.images import decode_image
from augment.inputs.readers import read_bytes
from augment.models.config import exact_revision
from augment.prompts.captioner import CaptionerConfig
from augment.prompts.captions import caption_of
from augment.prompts.guards import Guards
from augment.prompts.lengths import Reader
from augment.prompts.variations import Answer, Costs
from augment.run.config import InputConfig
from augment.types import Source

_EXAMPLE = "HuggingFaceTB/SmolVLM-256M-Instruct"
_AT_ONCE = 16  # captions in one file of the cache: what a kill costs
_CUT = "cut"  # marks an answer that ran into the limit
Answers = dict[str, list[str]]  # key -> text, and `_CUT`


class Describes(Protocol):
    """A model that describes pictures, such as `augment.models.captioner.Captioner`."""

    @property
    def chats(self) -> bool:
        """Return whether it has a chat template."""

    def describe(self, picture: np.ndarray, instructions: str, prefix: str) -> Answer:
        """Return the description of a picture, uint8 [H, W, 3]."""


@dataclass
class CaptionReport:
    """The captions of a job.

    Attributes:
        wanted: number of images without a caption.
        cached: number of them that earlier calls had asked for.
        shortened: number of captions of which only the first sentences were kept.
        costs: of the model, and kind -> number of captions refused: these images have the `source_template`.
    """

    wanted: int = 0
    cached: int = 0
    shortened: int = 0
    costs: Costs = field(default_factory=Costs)

    def as_dict(self) -> dict[str, Any]:
        """Return the content of `--json`."""
        costs = self.costs.as_dict()
        del costs["retries"]
        return {"wanted": self.wanted, "cached": self.cached, "shortened": self.shortened, **costs}

    def lines(self) -> list[str]:
        """Return lines for a person; none if no caption was wanted."""
        if not self.wanted:
            return []
        costs, refused = self.costs, sum(self.costs.refused.values())
        short = f", {self.shortened} shortened" if self.shortened else ""
        lines = [
            f"captions        {self.wanted - refused} of {self.wanted} images without one{short}, {self.cached} cached",
            f"cost            {costs.requests} pictures described, {costs.prompt_tokens} tokens in, "
            f"{costs.completion_tokens} out",
        ]
        if refused:
            kinds = ", ".join(f"{kind} {n}" for kind, n in sorted(costs.refused.items()))
            lines.append(f"source_template {refused} images, whose captions were refused: {kinds}")
        return lines


@dataclass
class CaptionStage:
    """Gives captions to images.

    Attributes:
        config: which model is asked for what; its revision is pinned.
        scene_only: whether captions name the scene alone.
        input: how pictures are fitted: the model sees what is edited.
        guards, readers: decide what may be a caption.
        known: key -> answer of earlier calls.
        save: is given answers to keep.
        load: loads the model, once the first picture has to be described.
        say: is told the progress.
        unread: keys of the images whose pictures could not be read.
    """

    config: CaptionerConfig
    scene_only: bool
    input: InputConfig
    guards: Guards
    readers: Sequence[Reader]
    known: Mapping[str, Sequence[str]]
    save: Callable[[Answers], None]
    load: Callable[[CaptionerConfig], Describes]
    say: Callable[[str], None]
    report: CaptionReport = field(default_factory=CaptionReport)
    unread: set[str] = field(default_factory=set)
    _new: Answers = field(default_factory=dict)
    _unsaved: Answers = field(default_factory=dict)
    _model: Describes | None = None

    def run(self, sources: Sequence[Source]) -> list[Source]:
        """Return the sources; those without a caption have one now, if the guards let what the model says pass.

        Answers are kept as they come, also if this ends with an exception.

        Raises:
            ModelError: if the model cannot be loaded, or asked.
            UnreachableError: if the inputs do not answer.
        """
        self.report.wanted = sum(not source.caption for source in sources)
        try:
            return [source if source.caption else self._captioned(source) for source in sources]
        finally:
            self._flush()

    def _captioned(self, source: Source) -> Source:
        try:
            answer = self._answer(source)
        except UnreachableError:
            raise
        except (ImageError, InputError):  # the run will say what is wrong with it
            self.report.costs.refused["picture not readable"] += 1
            self.unread.add(source.key)
            return source
        text, *marks = answer
        found = caption_of(text, source.class_name, self.guards, self.readers, is_cut=_CUT in marks)
        if found.refusal is not None:
            self.report.costs.refused[found.refusal.kind] += 1
            return source
        self.report.shortened += found.is_shortened
        return replace(source, caption=found.text)

    def _answer(self, source: Source) -> Sequence[str]:
        data = read_bytes(source)
        key = self._key(source, data)
        if key in self.known:
            self.report.cached += 1
            return self.known[key]
        if key not in self._new:
            fit = Fit(self.input.fit, self.input.image_size)
            picture = np.asarray(decode_image(data, fit, colour=self.input.colour))
            if self._model is None:
                self._model = self.load(self.config)
            told = self.config.told(source.class_name, chats=self._model.chats, scene_only=self.scene_only)
            answer, costs = self._model.describe(picture, *told), self.report.costs
            costs.requests += 1
            costs.prompt_tokens += answer.prompt_tokens
            costs.completion_tokens += answer.completion_tokens
            self._new[key] = self._unsaved[key] = [answer.text, *([_CUT] if answer.is_cut else [])]
            if len(self._unsaved) == _AT_ONCE:
                self._flush()
        return self._new[key]

    def _key(self, source: Source, data: bytes) -> str:
        """Return a hash of all that an answer depends on."""
        told = [self.config.told(source.class_name, chats=chats, scene_only=self.scene_only) for chats in (True, False)]
        fit = [self.input.fit, self.input.image_size, self.input.colour]
        content = ["caption", self.config.identity(), told, fit, hashlib.sha256(data).hexdigest()]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]

    def _flush(self) -> None:
        if self._unsaved:
            self.save(dict(self._unsaved))
            self._unsaved.clear()
            self.say(f"{self.report.cached + len(self._new)}/{self.report.wanted} images described")


def pinned_captioner(config: CaptionerConfig) -> CaptionerConfig:
    """Return the config with exactly these weights as its revision. Raises ModelError if there is no such model."""
    revision = exact_revision("caption.model", config.model, config.revision, _EXAMPLE)
    return config.model_copy(update={"revision": revision})


def load_described(config: CaptionerConfig) -> Describes:
    """Return the model of a config. transformers is imported only if a picture has to be described."""
    from augment.models.captioner import load_captioner  # noqa: PLC0415

    return load_captioner(config)
