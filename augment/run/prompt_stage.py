"""The prompts of a job before the job: written into a table that a person can look at, and edit.

augment prompts configs/expand/emoji.yaml
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from augment.errors import ConfigError
from augment.ledger.ledger import Ledger
from augment.models.text_readers import model_readers
from augment.prompts import PromptConfig, prompt_source
from augment.prompts.chat import ChatEndpoint
from augment.prompts.guards import Guards, guards_of
from augment.prompts.lengths import Reader
from augment.prompts.llm import LanguageModelConfig
from augment.prompts.variations import Costs, LanguageModel, ToVary, Variator
from augment.run.caption_stage import CaptionReport, CaptionStage, load_described, pinned_captioner
from augment.run.config import ExpandConfig, InputConfig, check_class_names, job_sources, with_pinned_models
from augment.run.findings import Findings, dataset_warnings
from augment.run.job_prompts import is_away, made_of_image, making, prompt_findings, prompts_url
from augment.run.prompt_edits import merged_table, rows_before
from augment.run.prompt_file import load_prompts, prompts_name
from augment.run.prompt_table import PromptRow, table_rows, write_table
from augment.run.table_files import EDITED_TABLE
from augment.seeding import seed_for
from augment.storage.store import Store
from augment.types import Source

logger = logging.getLogger(__name__)
CACHE = "cache"  # in the folder of the prompts: what a language model has answered
_EXAMPLES = 6


@dataclass(frozen=True)
class PromptReport:
    """The prompts that were made.

    Attributes:
        out: folder of the table.
        images: number of images.
        prompts: number of rows of the CSV.
        distinct: number of different prompts among them.
        edited: number of rows that a person has changed, added or deleted.
        set_aside: the same of images that the job does not have now; they stay, and are not among `prompts`.
        refused: kind -> number of prompts that the guards kept out of the table.
        varied: number of prompts that the language model was to vary; 0 without one.
        as_before: number of them that have no variation, and stay as they were.
        cached: number of them that earlier calls had varied.
        costs: of the language model.
        captions: of the images that came without one.
        examples: a few of the prompts.
        warnings: what is pointed out.
    """

    out: str
    images: int
    prompts: int
    distinct: int
    edited: int
    refused: dict[str, int]
    varied: int
    as_before: int
    cached: int
    set_aside: int = 0
    costs: Costs = field(default_factory=Costs)
    captions: CaptionReport = field(default_factory=CaptionReport)
    examples: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the content of `--json`."""
        names = ("out", "images", "prompts", "distinct", "edited", "set_aside", "refused")
        content = {name: getattr(self, name) for name in (*names, "varied", "as_before", "cached")}
        costs = {"llm": self.costs.as_dict(), "caption": self.captions.as_dict()}
        return {**content, **costs, "warnings": list(self.warnings)}

    def lines(self) -> list[str]:
        """Return lines for a person."""
        lines = [f"prompts         {self.prompts} for {self.images} images, {self.distinct} of them different"]
        if self.refused:
            kinds = ", ".join(f"{kind} {count}" for kind, count in self.refused.items())
            lines.append(f"left out        {sum(self.refused.values())}: {kinds}")
        lines += self.captions.lines()
        if self.varied:
            costs = self.costs
            lines.append(
                f"language model  {self.varied} prompts to vary, {self.cached} of them cached, {self.as_before} stay "
                "as they were"
            )
            lines.append(
                f"cost            {costs.requests} requests, {costs.prompt_tokens} tokens in, "
                f"{costs.completion_tokens} out"
            )
            for name, counts in (("retries", costs.retries), ("refused", costs.refused)):
                if counts:
                    lines.append(f"{name:15} " + ", ".join(f"{kind} {n}" for kind, n in sorted(counts.items())))
        lines += [f"{'for example' if i == 0 else '':15} {text}" for i, text in enumerate(self.examples)]
        if self.edited:
            lines.append(f"edited          {self.edited} rows have your changes, which were kept")
        if self.set_aside:
            lines.append(
                f"set aside       {self.set_aside} rows with your changes, of images that the job does not have now: "
                "they count again with them"
            )
        lines.append(f"written         {self.out}/{EDITED_TABLE}, which `augment expand` reads: change what you like")
        return lines


def make_prompts(config: ExpandConfig, *, say: Callable[[str], None] = logger.info) -> PromptReport:
    """Write the prompts of a job into its folder of prompts. What a person has changed there stays.

    What a language model or a captioner answers is kept, and not asked again.

    Args:
        config: with `prompts` absolute or relative to the working directory.
        say: is told the progress, a line for each answer.

    Raises:
        ConfigError, InputError, PromptError, ModelError, OutputError: if the config, the input, the output or one of
            the models cannot be used.
    """
    config = with_pinned_models(config)
    prompts = load_prompts(config.prompts)
    sources, class_names, left_out = job_sources(config, prompts.columns)
    check_class_names(config, prompts, class_names)
    planner, readers = prompt_source(prompts, class_names.values(), sources), model_readers(config.model)
    wrong, odd = prompt_findings(config, prompts, planner, sources, class_names, readers)
    where = f"{prompts_name(config.prompts)}: "
    Findings(tuple(where + text for text in wrong)).raise_any()
    guards = guards_of(prompts, class_names.values())
    planned = (planner.plan(source, config.variants_per_image, config.seed) for source in sources)
    made_of = {source.key: made_of_image(source, prompts) for source in sources}
    rows, refused = _guarded(table_rows(planned, lambda s: made_of[s.key]), guards, prompts_name(config.prompts))
    ledger = Ledger(prompts_url(config))
    with ledger.lock():  # before money is spent on what cannot be written
        rows, captions = _with_captions(rows, sources, prompts, config.input, guards, readers, ledger.store, say)
        made_of |= {row.key: row.made_of for row in rows}
        varied = _Varied(rows)
        if prompts.llm is not None:
            variator = Variator(_load_model(prompts.llm), prompts.llm, guards, readers)
            varied = _vary(rows, variator, ledger.store, config.seed, say)
        table = merged_table(ledger.store, varied.rows, made_of)
        without = {key: made_of[key] for key in sorted(made_of.keys() - {row.key for row in rows})}
        head = {"settings": making(config, prompts, class_names), "images": len(sources), "without": without}
        write_table(ledger.store, table.made, table.edited, head)
    prompts_of_job = [row.prompt for row in table.edited if row.key in made_of]
    texts = sorted(set(prompts_of_job), key=lambda text: seed_for("example", text))
    return PromptReport(
        out=ledger.store.url,
        images=len(sources),
        prompts=len(prompts_of_job),
        distinct=len(texts),
        edited=table.changes,
        set_aside=table.set_aside,
        refused=refused,
        varied=varied.wanted,
        as_before=varied.as_before,
        cached=varied.cached,
        costs=varied.costs,
        captions=captions,
        examples=tuple(texts[:_EXAMPLES]),
        warnings=(
            *dataset_warnings(config.input, sources, class_names, left_out),
            *(where + text for text in odd),
            *table.warnings(ledger.store.at(EDITED_TABLE)),
        ),
    )


def _guarded(rows: Iterable[PromptRow], guards: Guards, name: str) -> tuple[list[PromptRow], dict[str, int]]:
    """Return the rows that the guards let pass, and how many they refuse of each kind.

    Raises:
        ConfigError: if no row is left; `name` is what messages call the prompts.
    """
    passing, refused = [], Counter[str]()
    for row in rows:
        if refusal := guards.refusal(row.prompt, row.class_name):
            refused[refusal.kind] += 1
        else:
            passing.append(row)
    if not passing:
        kinds = ", ".join(f"{kind} {count}" for kind, count in refused.items())
        raise ConfigError(name, [f"no prompt of {sum(refused.values())} is left ({kinds}). Write others"])
    return passing, dict(refused)


def _with_captions(
    rows: Sequence[PromptRow],
    sources: Sequence[Source],
    prompts: PromptConfig,
    input: InputConfig,
    guards: Guards,
    readers: Sequence[Reader],
    store: Store,
    say: Callable[[str], None],
) -> tuple[list[PromptRow], CaptionReport]:
    """Return the rows with what a model says of the pictures that came without a caption, and what that took.

    Where a picture cannot be read now, what is in the table already stays.
    """
    if prompts.caption is None:
        return list(rows), CaptionReport()
    stage = CaptionStage(
        config=pinned_captioner(prompts.caption),
        scene_only=prompts.scene_only,
        input=input,
        guards=guards,
        readers=readers,
        known=dict(_cached(store)),
        save=partial(_keep, store),
        load=load_described,
        say=say,
    )
    edited = {row.key for row in rows}
    found = {source.key: source for source in stage.run([s for s in sources if s.key in edited])}
    before = rows_before(store, stage.unread)

    def captioned(row: PromptRow) -> PromptRow:
        source, was = found[row.key], before.get(row.key)
        if was is None or was.class_name != row.class_name:
            return replace(row, source_prompt=source.caption or row.source_prompt)
        # Its edits were made with what the model said when the picture could be read.
        return replace(row, source_prompt=was.source_prompt, made_of=was.made_of if is_away(source) else row.made_of)

    return [captioned(row) for row in rows], stage.report


@dataclass(frozen=True)
class _Varied:
    """Rows with what a language model made of their prompts, and what that took."""

    rows: list[PromptRow]
    wanted: int = 0
    as_before: int = 0
    cached: int = 0
    costs: Costs = field(default_factory=Costs)


def _vary(
    rows: Sequence[PromptRow], variator: Variator, store: Store, seed: int, say: Callable[[str], None]
) -> _Varied:
    """Return the rows, each with one of the variations of its prompt, or with the prompt itself where there is none."""
    of_row = [ToVary(row.class_name if variator.guards.names_class else "", row.prompt) for row in rows]
    wanted = list(dict.fromkeys(of_row))
    keys = {one: variator.key(one) for one in wanted}
    known = {key: texts for key, texts in _cached(store) if key in set(keys.values())}
    done = len(known)
    say(f"{done}/{len(wanted)} prompts varied before")

    def save(complete: Mapping[str, Sequence[str]]) -> None:
        nonlocal done
        _keep(store, complete)
        done += len(complete)
        say(f"{done}/{len(wanted)} prompts varied, {variator.costs.requests} requests")

    found = variator.run(wanted, known, save)
    varied, before = [], Counter[tuple[str, str]]()
    for row, one in zip(rows, of_row, strict=True):
        texts = found[keys[one]]
        if texts:  # an image that has the prompt again gets the next variation
            place = seed_for(seed, row.key, "variation") + before[row.key, row.prompt]
            before[row.key, row.prompt] += 1
            row = replace(row, prompt=texts[place % len(texts)], varied_from=row.prompt)
        varied.append(row)
    as_before = sum(not found[key] for key in keys.values())
    return _Varied(varied, len(wanted), as_before, len(known), variator.costs)


def _keep(store: Store, answers: Mapping[str, Sequence[str]]) -> None:
    data = json.dumps({key: list(texts) for key, texts in answers.items()}, ensure_ascii=False, sort_keys=True)
    store.write(f"{CACHE}/{hashlib.sha256(data.encode()).hexdigest()[:16]}.json", data.encode())


def _cached(store: Store) -> Iterator[tuple[str, list[str]]]:
    """Yield key and texts of all answers that are kept; files that are not readable are left out: asked again."""
    for name, data in store.read_many(store.list(CACHE)):
        try:
            content = json.loads(data)
            yield from ((str(key), [str(text) for text in texts]) for key, texts in content.items())
        except (ValueError, AttributeError, TypeError):
            logger.warning("warning: %s is not readable, and left out", store.at(name))


def _load_model(config: LanguageModelConfig) -> LanguageModel:
    """Return the model of a config. transformers is imported only if it is to run here."""
    if config.endpoint is not None:
        return ChatEndpoint(config)
    from augment.models.text_generation import LocalLanguageModel  # noqa: PLC0415

    return LocalLanguageModel(config)
