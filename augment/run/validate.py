"""Checks of a config, its prompts, its input, its models' names and its output, without loading a model.

augment validate configs/expand/emoji.yaml
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, create_model

from augment.config import load_config
from augment.errors import ConfigError, InputError, ModelError, OutputError, PromptError, StoreError
from augment.inputs.listing import left_out_text
from augment.ledger.lease import holder
from augment.ledger.ledger import Ledger
from augment.ledger.plan_files import results_in
from augment.models.config import pinned, pinned_clip
from augment.models.segmentation_files import pinned_segmentation
from augment.prompts import PromptConfig, PromptSource, prompt_source
from augment.run.config import (
    ExpandConfig,
    JobSources,
    check_class_names,
    fingerprint,
    job_sources,
    load_expand_config,
    output_url,
)
from augment.run.findings import Findings, find
from augment.run.job_prompts import job_prompts, planned_edits
from augment.run.moved_models import as_planned
from augment.run.prompt_file import load_prompts, located, prompts_name
from augment.storage.local_store import LocalStore, why_not_writable
from augment.types import Source


@dataclass(frozen=True)
class Validation:
    """The result of a validation.

    Attributes:
        problems: one text per problem.
        warnings: one text per thing that is pointed out and does not stop a run.
        sources, classes, planned: number of images, of classes and of edits; 0 if a problem hides it.
        left_out: kind -> number of the files of the dataset that are not among its images.
    """

    problems: tuple[str, ...]
    sources: int = 0
    classes: int = 0
    planned: int = 0
    warnings: tuple[str, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Return whether there is no problem."""
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        """Return the content of `--json`."""
        counts = {"sources": self.sources, "classes": self.classes, "planned": self.planned}
        found = {"ok": self.ok, "problems": list(self.problems), "warnings": list(self.warnings)}
        return found | counts | {"left_out": dict(self.left_out)}

    def lines(self) -> list[str]:
        """Return lines for a person: the counts if there are no problems, and what was left out."""
        counts = [f"ok: {self.sources} images of {self.classes} classes, {self.planned} edits"] if self.ok else []
        return counts + ([f"left out: {left_out_text(self.left_out)}"] if self.left_out else [])


def validate(path: Path | str, overrides: Sequence[str] = ()) -> Validation:
    """Check all that `expand` checks before it starts a worker, and go on after a problem.

    Reads the listing of the input, and of its images only some that could be the same picture in two classes, and the
    headers of some; loads no model; writes nothing. The permissions of a local folder are checked, those of a bucket
    are not, because only writing tells: `augment doctor OUT` does that.

    Args:
        path: YAML file.
        overrides: `dotted.key=value`.
    """
    problems: list[str] = []
    config, sound = _load(path, overrides, problems)
    return _checked(config, sound, problems)


def validate_config(config: ExpandConfig) -> Validation:
    """Check a config that is sound in itself, as `validate` does one of a file."""
    return _checked(config, set(ExpandConfig.model_fields), [])


def _checked(config: ExpandConfig, sound: set[str], problems: list[str]) -> Validation:
    """Check the valid sections of a config against the dataset, the model and the output.

    Args:
        config: sections that are not valid may be missing from it.
        sound: names of the valid ones.
        problems: those that were found already.
    """
    prompts, listing, planner = None, None, None
    if "prompts" in sound:
        try:
            prompts = load_prompts(config.prompts)
        except ConfigError as error:
            problems += error.problems
    if {"input", "output"} <= sound:
        try:
            listing = job_sources(config, prompts.columns if prompts else ())
        except (InputError, OutputError) as error:
            problems.append(str(error))
    sources, class_names, left_out = listing or JobSources([], {}, {})
    if listing and prompts and {"variants_per_image", "seed"} <= sound:
        planner = _planner(config, prompts, listing, problems)
    elif listing and prompts:
        planner = prompt_source(prompts, class_names.values(), sources)
    if prompts and planner:
        problems += _prompt_problems(config, prompts, planner, sources, class_names)
    config, sound = _with_models(config, sound, problems)
    findings = Findings()
    read = {"model", "clip", "segmentation", "filters", "variants_per_image", "seed", "run"}
    if prompts and planner and read <= sound:
        try:
            findings = find(config, prompts, planner, sources, class_names, left_out)
        except ModelError as error:
            problems.append(str(error))
        problems += findings.problems
    if "output" in sound:
        settings = None
        if planner and sound == ExpandConfig.model_fields.keys():
            settings = fingerprint(config, planner, sources, class_names)
        problems += _output_problems(config, settings)
    planned = 0
    if "variants_per_image" in sound:
        with contextlib.suppress(PromptError):  # it is among the problems
            planned = planned_edits(config, planner, sources) if planner else len(sources) * config.variants_per_image
    return Validation(tuple(problems), len(sources), len(class_names), planned, findings.warnings, left_out)


def _with_models(config: ExpandConfig, sound: set[str], problems: list[str]) -> tuple[ExpandConfig, set[str]]:
    """Return the config with the revisions of its models, and which sections are sound when these are looked for."""
    lost = set()
    for name, pin in (("model", pinned), ("clip", pinned_clip), ("segmentation", pinned_segmentation)):
        section = getattr(config, name, None)
        if name in sound and section is not None:
            try:
                config = config.model_copy(update={name: pin(section)})
            except ModelError as error:
                problems.append(str(error))
                lost.add(name)
    return config, sound - lost


def _planner(
    config: ExpandConfig, prompts: PromptConfig, listing: JobSources, problems: list[str]
) -> PromptSource | None:
    """Return where the prompts come from, None if those that were made before cannot be used: that is a problem."""
    try:
        return job_prompts(config, prompts, listing.sources, listing.class_names)
    except ConfigError as error:
        problems += error.problems
        return None
    except (OutputError, StoreError) as error:
        problems += [str(error)] if config.prompt_folder else []  # otherwise it is said of the output
        return prompt_source(prompts, listing.class_names.values(), listing.sources)


def _load(path: Path | str, overrides: Sequence[str], problems: list[str]) -> tuple[ExpandConfig, set[str]]:
    """Return the config, and the names of its valid sections; the others may be missing from it."""
    try:
        return load_expand_config(path, overrides), set(ExpandConfig.model_fields)
    except ConfigError as error:
        problems += error.problems
    sections: dict[str, Any] = {}
    for name, info in ExpandConfig.model_fields.items():
        fields: dict[str, Any] = {name: (info.annotation, info)}
        alone = create_model(f"Only_{name}", __config__=ConfigDict(extra="ignore"), **fields)
        try:
            sections[name] = getattr(load_config(path, alone, overrides), name)
        except ConfigError:
            continue  # its problems are listed already
    if "prompts" in sections:  # relative as in load_expand_config
        sections["prompts"] = located(sections["prompts"], path, overrides=overrides)
    return ExpandConfig.model_construct(**sections), set(sections)


def _prompt_problems(
    config: ExpandConfig,
    prompts: PromptConfig,
    planner: PromptSource,
    sources: Sequence[Source],
    class_names: dict[int, str],
) -> Iterator[str]:
    try:
        check_class_names(config, prompts, class_names)
    except ConfigError as error:
        yield from (f"{prompts_name(config.prompts)}: {problem}" for problem in error.problems)
    # A prompt depends on the class and on these attributes only, so one source of each kind is enough.
    kinds = {
        (s.class_name, *(s.attributes.get(name, "") for name in (*prompts.differ_from_source, *prompts.columns))): s
        for s in reversed(sources)
    }
    refused: dict[str, str] = {}
    for source in kinds.values():
        try:
            planner.plan(source, 1, 0)
        except PromptError as error:
            refused.setdefault(source.class_name, f"{prompts_name(config.prompts)}: {error}")
    yield from refused.values()


def _output_problems(config: ExpandConfig, settings: dict[str, Any] | None) -> Iterator[str]:
    """Yield what keeps `expand` from writing there.

    Args:
        settings: the fingerprint; None if it could not be made.
    """
    url = output_url(config)
    try:
        ledger = Ledger(url)
        store = ledger.store
        if isinstance(store, LocalStore) and (reason := why_not_writable(store.root)):
            yield f"output.path: {url} cannot be written ({reason}). Name a folder you can write to."
            return
        if driver := holder(store):
            yield f"{url} is being written by another run ({driver}). Wait for it, or choose another output.path."
        plan = ledger.read_plan()
        held = results_in(store)
        if plan is None and held:
            yield f"{url} already has {', '.join(held)}, but no plan: it is not this job's. Choose another output.path."
        if plan and settings and store.list("commits"):
            ledger.check_pixels(plan, as_planned(settings, plan.fingerprint))
    except (OutputError, OSError) as error:
        yield str(error)
    except Exception as error:  # object stores have errors of their own for missing buckets and credentials
        yield f"output.path: {url} cannot be used ({type(error).__name__}: {error}). Name a folder you can write to."
