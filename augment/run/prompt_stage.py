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
from typing import Any

from augment.errors import ConfigError
from augment.ledger.ledger import Ledger
from augment.models.text_readers import model_readers
from augment.prompts import prompt_source
from augment.prompts.chat import ChatEndpoint
from augment.prompts.guards import Guards, guards_of
from augment.prompts.llm import LanguageModelConfig
from augment.prompts.variations import Costs, LanguageModel, ToVary, Variator
from augment.run.config import ExpandConfig, check_class_names, job_sources, with_pinned_models
from augment.run.findings import Findings, dataset_warnings
from augment.run.job_prompts import making, prompt_findings, prompts_url
from augment.run.prompt_file import load_prompts, prompts_name
from augment.run.prompt_table import (
    EDITED_TABLE,
    PromptRow,
    read_edited,
    read_made,
    table_rows,
    with_edits,
    write_table,
)
from augment.seeding import seed_for
from augment.storage.store import Store

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
        refused: kind -> number of prompts that the guards kept out of the table.
        varied: number of prompts that the language model was to vary; 0 without one.
        as_before: number of them that have no variation, and stay as they were.
        cached: number of them that earlier calls had varied.
        costs: of the language model.
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
    costs: Costs = field(default_factory=Costs)
    examples: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the content of `--json`."""
        names = ("out", "images", "prompts", "distinct", "edited", "refused", "varied", "as_before", "cached")
        content = {name: getattr(self, name) for name in names}
        return {**content, "llm": self.costs.as_dict(), "warnings": list(self.warnings)}

    def lines(self) -> list[str]:
        """Return lines for a person."""
        lines = [f"prompts         {self.prompts} for {self.images} images, {self.distinct} of them different"]
        if self.refused:
            kinds = ", ".join(f"{kind} {count}" for kind, count in self.refused.items())
            lines.append(f"left out        {sum(self.refused.values())}: {kinds}")
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
        lines.append(f"written         {self.out}/{EDITED_TABLE}, which `augment expand` reads: change what you like")
        return lines


def make_prompts(config: ExpandConfig, *, say: Callable[[str], None] = logger.info) -> PromptReport:
    """Write the prompts of a job into its folder of prompts. What a person has changed there stays.

    What a language model answers is kept at once, and not asked again.

    Args:
        config: with `prompts` absolute or relative to the working directory.
        say: is told the progress, a line for each answer.

    Raises:
        ConfigError, InputError, PromptError, ModelError, OutputError: if the config, the input, the output or the
            language model cannot be used.
    """
    config = with_pinned_models(config)
    prompts = load_prompts(config.prompts)
    sources, class_names, left_out = job_sources(config, prompts.columns)
    check_class_names(config, prompts, class_names)
    planner, readers = prompt_source(prompts, class_names.values()), model_readers(config.model)
    wrong, odd = prompt_findings(config, prompts, planner, sources, class_names, readers)
    where = f"{prompts_name(config.prompts)}: "
    Findings(tuple(where + text for text in wrong)).raise_any()
    guards = guards_of(prompts, class_names.values())
    planned = (planner.plan(source, config.variants_per_image, config.seed) for source in sources)
    rows, refused = _guarded(table_rows(planned), guards, prompts_name(config.prompts))
    ledger = Ledger(prompts_url(config))
    with ledger.lock():  # before money is spent on what cannot be written
        varied = _Varied(rows)
        if prompts.llm is not None:
            variator = Variator(_load_model(prompts.llm), prompts.llm, guards, readers)
            varied = _vary(rows, variator, ledger.store, config.seed, say)
        edited, changes = _with_changes(ledger.store, varied.rows, {source.key for source in sources})
        without = sorted({source.key for source in sources} - {row.key for row in rows})
        head = {"settings": making(config, prompts, class_names), "images": len(sources), "without": without}
        write_table(ledger.store, varied.rows, edited, head)
    texts = sorted({row.prompt for row in edited}, key=lambda text: seed_for("example", text))
    return PromptReport(
        out=ledger.store.url,
        images=len(sources),
        prompts=len(edited),
        distinct=len(texts),
        edited=changes,
        refused=refused,
        varied=varied.wanted,
        as_before=varied.as_before,
        cached=varied.cached,
        costs=varied.costs,
        examples=tuple(texts[:_EXAMPLES]),
        warnings=(*dataset_warnings(config.input, sources, class_names, left_out), *(where + text for text in odd)),
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
        data = json.dumps({key: list(texts) for key, texts in complete.items()}, ensure_ascii=False, sort_keys=True)
        store.write(f"{CACHE}/{hashlib.sha256(data.encode()).hexdigest()[:16]}.json", data.encode())
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


def _cached(store: Store) -> Iterator[tuple[str, list[str]]]:
    """Yield key and texts of all answers that are kept; files that are not readable are left out: asked again."""
    for name, data in store.read_many(store.list(CACHE)):
        try:
            content = json.loads(data)
            yield from ((str(key), [str(text) for text in texts]) for key, texts in content.items())
        except (ValueError, AttributeError, TypeError):
            logger.warning("warning: %s is not readable, and left out", store.at(name))


def _with_changes(store: Store, rows: Sequence[PromptRow], keys: set[str]) -> tuple[list[PromptRow], int]:
    """Return the rows with what a person has changed in the CSV, and how many changes there are."""
    before = read_made(store)
    edited = read_edited(store, before, keys) if before is not None else None
    if before is None or edited is None:
        return list(rows), 0
    return with_edits(rows, before, edited)


def _load_model(config: LanguageModelConfig) -> LanguageModel:
    """Return the model of a config. transformers is imported only if it is to run here."""
    if config.endpoint is not None:
        return ChatEndpoint(config)
    from augment.models.text_generation import LocalLanguageModel  # noqa: PLC0415

    return LocalLanguageModel(config)
