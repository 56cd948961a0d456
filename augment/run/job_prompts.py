"""The prompts of a job's images: those that `augment prompts` made and a person may have edited, or the config's."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from augment.errors import ConfigError, PromptError
from augment.inputs.locate import absolute, is_url
from augment.inputs.readers import InputFormat
from augment.ledger.plan import (
    config_hash_of,
    cut_units,
    digest_of,
    fingerprint_difference,
    flatten,
    named_by_content,
)
from augment.models.text_readers import TextReader
from augment.prompts import PromptConfig, PromptSource, prompt_source
from augment.prompts.draw import source_prompt
from augment.prompts.guards import guards_of
from augment.prompts.lengths import cut_of_source, cut_prompts, length_findings
from augment.prompts.lines import unknown_headings
from augment.prompts.sources import GridPrompts, TablePrompts, refused_prompts
from augment.prompts.syntax import syntax_findings
from augment.run.config import ExpandConfig, output_url
from augment.run.prompt_file import prompts_name
from augment.run.prompt_table import (
    ABSENT,
    PromptRow,
    RowId,
    by_source,
    digest_of_rows,
    raise_some,
    read_edited,
    read_head,
    read_made,
)
from augment.run.table_files import EDITED_TABLE, HEAD, MADE
from augment.storage.resolve import open_store
from augment.storage.store import Store
from augment.types import Source, Unit

PROMPTS_FOLDER = "prompts"  # in the output folder
_AGAIN = "Run `augment prompts` again, which keeps what you have edited, or remove the folder to do without"


def prompts_url(config: ExpandConfig) -> str:
    """Return the folder of a job's prompts, as an absolute path or a URL."""
    return absolute(config.prompt_folder) if config.prompt_folder else f"{output_url(config)}/{PROMPTS_FOLDER}"


def making(config: ExpandConfig, prompts: PromptConfig, class_names: Mapping[int, str]) -> dict[str, Any]:
    """Return all that the prompts of an image are made of, beside the image: dotted key -> value."""
    words = digest_of(sorted(set(class_names.values())))
    made_of = {"prompts": prompts.identity(), "seed": config.seed, "class_words": words}
    return flatten({**made_of, "variants_per_image": config.variants_per_image})


def made_of_image(source: Source, prompts: PromptConfig) -> str:
    """Return a hash of what of an image its prompts are made of: its class, its caption, attributes and columns."""
    names = {*prompts.columns, *prompts.differ_from_source, *(() if source.caption else prompts.attributes)}
    known = {name: source.attributes[name] for name in sorted(names) if name in source.attributes}
    described = [source.size] if prompts.caption is not None and not source.caption else []  # a model sees the picture
    return digest_of([source.class_name, source.caption, known, *described])


def is_away(source: Source) -> bool:
    """Return whether a source is a local file that is not there now, as on a disk that is away: it has no size."""
    return source.size == 0 and not is_url(source.locator) and not os.path.exists(source.locator)


def job_prompts(
    config: ExpandConfig, prompts: PromptConfig, sources: Sequence[Source], class_names: Mapping[int, str]
) -> PromptSource:
    """Return where a job's prompts come from.

    Args:
        config: of the job.
        prompts: what `config.prompts` holds.
        sources: the job's images.
        class_names: label -> word, of the whole dataset.

    Raises:
        ConfigError: if the prompts that were made are not those of this config and these images, or cannot be used; or
            a language model is to make them, and has not.
    """
    url = prompts_url(config)
    store = open_store(url)
    head = read_head(store)
    if head is None:
        if store.exists(EDITED_TABLE):
            raise ConfigError(url, [f"{EDITED_TABLE} is there, but {HEAD} is not. {_AGAIN}"])
        if models := [name for name in ("llm", "caption") if getattr(prompts, name) is not None]:
            problem = f"no prompts are in {url} yet. Let the model write them: `augment prompts`; or leave"
            raise ConfigError(prompts_name(config.prompts), [f"{name}: {problem} {name} out" for name in models])
        return prompt_source(prompts, class_names.values(), sources)
    if difference := fingerprint_difference(head["settings"], making(config, prompts, class_names)):
        changed = [line.replace(" in the plan", " in the table") for line in difference]
        raise ConfigError(url, [*changed, f"The prompts in it were made of something else. {_AGAIN}"])
    made, edited = read_made(store), None
    if made is not None:
        edited = read_edited(store, made, {source.key for source in sources})
    if made is None or edited is None:
        raise ConfigError(url, [f"{HEAD} is there, but {MADE} or {EDITED_TABLE} is not. {_AGAIN}"])
    _check_images(url, sources, prompts, _known_images(head.get("without", ()), made, edited))
    of_key = {source.key: source for source in sources}
    rows = [row for row in edited.values() if row.key in of_key]
    of_class = {source.key: source.class_name for source in sources}
    raise_some(store.at(EDITED_TABLE), list(_refused(store, rows, prompts, of_class, class_names.values())))
    rows = [r if r.source_prompt else replace(r, source_prompt=source_prompt(of_key[r.key], prompts)) for r in rows]
    found = {source.key: ("", ()) for source in sources} | by_source(rows)
    return TablePrompts(found, prompts.identity(), digest_of_rows(rows, config.variants_per_image))


def _known_images(
    without: Collection[str] | Mapping[str, str], made: Mapping[RowId, PromptRow], edited: Mapping[RowId, PromptRow]
) -> dict[str, str]:
    """Return the images that a table is of, by key, with what their prompts were made of; "" where that is not known.

    Args:
        without: images that have no prompt; of tables that earlier versions have written, the keys alone.
        made, edited: rows of the table.
    """
    known = {row.key: "" for row in edited.values()}
    known |= without if isinstance(without, Mapping) else dict.fromkeys(without, "")
    known |= {row.key: row.made_of for row in made.values()}
    return {key: made_of for key, made_of in known.items() if made_of != ABSENT}


def _check_images(url: str, sources: Sequence[Source], prompts: PromptConfig, known: Mapping[str, str]) -> None:
    """Raise ConfigError if a table is not of all the job's images as they are now.

    What a model has said of a picture stays as long as the picture is away.
    """
    if missing := [source.key for source in sources if source.key not in known]:
        raise ConfigError(url, [f"{len(missing)} images have no prompts in it, the first is {missing[0]!r}. {_AGAIN}"])
    changed = [s for s in sources if known[s.key] and known[s.key] != made_of_image(s, prompts)]
    if prompts.caption is not None:
        changed = [s for s in changed if s.caption or not is_away(s)]
    if changed:
        column = f", or the column {prompts.column!r}" if prompts.column is not None else ""
        size = ", or a picture of another size" if prompts.caption is not None else ""
        problem = (
            f"{len(changed)} images have another class, caption or known attributes{column}{size}, than when it was "
            "made"
        )
        raise ConfigError(url, [f"{problem}, the first is {changed[0].key!r}. {_AGAIN}"])


def prompt_findings(
    config: ExpandConfig,
    prompts: PromptConfig,
    planner: PromptSource,
    sources: Sequence[Source],
    class_names: Mapping[int, str],
    readers: Sequence[TextReader],
) -> tuple[list[str], list[str]]:
    """Return problems and warnings about a job's prompts.

    Args:
        config, prompts, sources, class_names: as for `job_prompts`.
        planner: what that returned.
        readers: of the model.
    """
    sizes = config.variants_per_image, config.seed, readers
    if isinstance(planner, GridPrompts):
        cut, counted = cut_prompts(prompts, sources, *sizes)
    else:
        cut, counted = cut_of_source(planner, sources, *sizes)
    lost, shortened = length_findings(cut, counted, readers)
    problems, warnings = source_findings(config.input.format, prompts, planner, sources, class_names)
    if isinstance(planner, TablePrompts) and not any(planner.rows[source.key][1] for source in sources):
        problems.append("the table of prompts has no row left, so there is nothing to make; leave some in it")
    return [*lost, *problems], [*warnings, *_repeated(planner, sources, config), *shortened]


def _repeated(planner: PromptSource, sources: Sequence[Source], config: ExpandConfig) -> Iterator[str]:
    """Yield a warning if images get a prompt twice: of one class one image is looked at."""
    one_of_each = {source.class_name: source for source in reversed(sources)}
    wanted = config.variants_per_image
    for name, source in sorted(one_of_each.items()):
        try:
            texts = [variant.prompt for variant in planner.plan(source, wanted, config.seed).variants]
        except PromptError:
            continue  # said elsewhere: nothing is left to draw
        if len(set(texts)) < len(texts):
            remedy = f"Give more values, templates or lines, or set variants_per_image: {len(set(texts))}"
            if isinstance(planner, TablePrompts):
                remedy = f"Change or delete rows of {EDITED_TABLE}"
            yield (
                f"of the {len(texts)} prompts of an image of {name!r} {len(set(texts))} are different: the other edits "
                f"are copies, made and trained on again. {remedy}"
            )
            return


def source_findings(
    format: InputFormat,
    prompts: PromptConfig,
    planner: PromptSource,
    sources: Sequence[Source],
    class_names: Mapping[int, str],
) -> tuple[list[str], list[str]]:
    """Return problems and warnings about prompts whatever model reads them.

    Args:
        format: of the dataset.
        prompts, planner, sources, class_names: as for `prompt_findings`.
    """
    problems, warnings = list[str](), [*syntax_findings(prompts), *refused_prompts(planner, sources)]
    if prompts.column and not any(source.attributes.get(prompts.column) for source in sources):
        has_columns = format in ("manifest", "webdataset")
        why = "is in no row" if has_columns else f"cannot be: {format!r} has no columns"
        problems.append(f"column: {prompts.column!r} {why}. Name a column of the manifest, or leave it out")
    if isinstance(prompts.lines, dict):
        problems += unknown_headings(prompts.lines, set(class_names.values()))
    for is_error, text in guards_of(prompts, class_names.values()).findings(prompts):
        (problems if is_error else warnings).append(text)
    return problems, warnings


def planned_units(
    config: ExpandConfig, planner: PromptSource, sources: Iterable[Source], settings: Mapping[str, Any]
) -> Iterator[Unit]:
    """Yield the units of the job's plan, whose fingerprint is `settings`, in order; images without an edit are in none.

    Args:
        planner: see `job_prompts`.
    """
    planned = (planner.plan(source, config.variants_per_image, config.seed) for source in sources)
    wanted = (p for p in planned if p.variants)
    return named_by_content(cut_units(wanted, config.run.unit_size), config_hash_of(settings))


def planned_edits(config: ExpandConfig, planner: PromptSource, sources: Sequence[Source]) -> int:
    """Return how many edits a plan has. Raises PromptError if an image has no prompt."""
    if isinstance(planner, GridPrompts):
        return len(sources) * config.variants_per_image
    return sum(len(planner.plan(s, config.variants_per_image, config.seed).variants) for s in sources)


def _refused(
    store: Store,
    rows: Iterable[PromptRow],
    prompts: PromptConfig,
    of_class: Mapping[str, str],
    class_names: Collection[str],
) -> Iterator[str]:
    """Yield which rows of a table cannot be used, by line."""
    guards, name = guards_of(prompts, class_names), store.at(EDITED_TABLE)
    captions: dict[str, PromptRow] = {}
    for row in rows:
        first = captions.setdefault(row.key, row)
        if first.source_prompt != row.source_prompt:
            yield f"{name}:{row.line}: image {row.key!r} has another source_prompt on line {first.line}; it has one"
        if refusal := guards.refusal(row.prompt, of_class[row.key]):
            yield f"{name}:{row.line}: {row.prompt!r} cannot be a prompt of {of_class[row.key]!r}: {refusal.why}"
