"""What a dataset and its prompts say about a run before a model is loaded: what stops it, and what is pointed out."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from augment.distribute.config import ignored_settings
from augment.errors import ConfigError
from augment.filters import FilterConfig
from augment.inputs.absent import absent_files
from augment.inputs.class_words import misread_keys
from augment.inputs.duplicates import same_pictures
from augment.inputs.fit import Fit
from augment.inputs.formats import UNREAD
from augment.inputs.headers import picture_size
from augment.inputs.likely_masks import likely_masks
from augment.inputs.listing import BROKEN_LINK, NOT_LOOKED_AT, UNREADABLE, left_out_text
from augment.inputs.locate import is_url
from augment.inputs.look import nearly_black
from augment.inversion.settings import solver_warnings
from augment.models.sides import side_limits
from augment.models.text_readers import TextReader, clip_reader, model_readers
from augment.prompts import PromptConfig, PromptSource
from augment.prompts.lengths import cut_among, too_long
from augment.prompts.templates import fill
from augment.prompts.words import distinct_words, word_findings
from augment.run.config import ExpandConfig, InputConfig, check_class_names, job_sources, with_pinned_models
from augment.run.job_prompts import job_prompts, prompt_findings
from augment.run.mask_findings import mask_problems, mask_warnings
from augment.run.prompt_file import load_prompts, prompts_name
from augment.run.reuse_findings import reuse_findings
from augment.seeding import spread
from augment.types import Source

logger = logging.getLogger(__name__)

_SHOWN = 3
_HEADERS_READ = 200  # some hundredths of a second
_MUCH_LOST = 0.3  # of the area of the median picture; a 4:3 photo loses 0.25 to the centre crop, as many are used to
_MAY_BE_MEANT = (BROKEN_LINK, UNREAD, UNREADABLE, NOT_LOOKED_AT)
_NUMBERED_FOLDER = re.compile(r"[/:]((\d+\s*[._-]\s*)[^/]*)(?=/)")


@dataclass(frozen=True)
class Findings:
    """One text per finding.

    Attributes:
        problems: what stops a run.
        warnings: what is pointed out, and does not stop it.
    """

    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def raise_any(self) -> None:
        """Raise ConfigError if there is a problem."""
        if self.problems:
            raise ConfigError("the dataset and its prompts", self.problems)


@dataclass(frozen=True)
class CheckedJob:
    """A job in which nothing was found that stops it.

    Attributes:
        config: with its models pinned to revisions, so that all workers, and later runs, load the same weights.
        prompts: where the prompts of its images come from.
        sources: its images.
        class_names: label -> word, of the whole dataset.
    """

    config: ExpandConfig
    prompts: PromptSource
    sources: list[Source]
    class_names: dict[int, str]


def checked_job(config: ExpandConfig) -> CheckedJob:
    """Return a job that may begin; what is odd about its words and files is logged as a warning.

    Raises:
        ConfigError, InputError, PromptError, ModelError, OutputError: if the config, the input or the output cannot be
            used.
    """
    config = with_pinned_models(config)
    prompts = load_prompts(config.prompts)
    sources, class_names, left_out = job_sources(config, prompts.columns)
    check_class_names(config, prompts, class_names)
    planner = job_prompts(config, prompts, sources, class_names)
    findings = find(config, prompts, planner, sources, class_names, left_out)
    findings.raise_any()
    for warning in findings.warnings:
        logger.warning("warning: %s", warning)
    return CheckedJob(config, planner, sources, class_names)


def find(
    config: ExpandConfig,
    prompts: PromptConfig,
    planner: PromptSource,
    sources: Sequence[Source],
    class_names: Mapping[int, str],
    left_out: Mapping[str, int],
) -> Findings:
    """Look at the words, the prompts and the files of a run. No model is loaded.

    Args:
        config: with its models pinned to revisions.
        prompts: what `config.prompts` holds.
        planner: where the prompts of its images come from.
        sources: the job's images.
        class_names: label -> word, of the whole dataset.
        left_out: kind -> number of the files that are not among its images.

    Raises:
        ModelError: if the files of a tokenizer are not readable.
    """
    readers, clip, limits = model_readers(config.model), clip_reader(config.clip), side_limits(config.model)
    fit = Fit(config.input.fit, config.input.image_size)
    problem = limits.problem(fit, config.model.name) if limits else ""
    wrong, odd = prompt_findings(config, prompts, planner, sources, class_names, readers)
    where = f"{prompts_name(config.prompts)}: "
    absent = absent_files(sources, config.input.path) if config.input.format == "manifest" else None
    none_there = absent is not None and 0 < absent.count == absent.looked_at
    missing = [f"input.path: {absent}"] if absent and absent.count else []
    no_reuse, little_reuse = reuse_findings(config, planner, class_names)
    return Findings(
        (
            *filter(None, [problem]),
            *(missing if none_there else ()),
            *filter_problems(config.filters, class_names),
            *_candidate_problems(config, class_names),
            *no_reuse,
            *mask_problems(config, sources),
            *(where + text for text in wrong),
        ),
        (
            *(() if none_there else missing),
            *dataset_warnings(config.input, sources, class_names, left_out),
            *_fit_warnings(fit, sources),
            *mask_warnings(config, sources, class_names),
            *(where + text for text in odd),
            *little_reuse,
            *_label_warnings(config, class_names, clip),
            *ignored_settings(config.run, config.model.device),
            *solver_warnings(config.editing.solver, config.editing.stop),
        ),
    )


def _file_warnings(sources: Sequence[Source], left_out: Mapping[str, int]) -> Iterator[str]:
    """Yield what was left out and may have been meant, and pictures that are nearly black."""
    if meant := {kind: count for kind, count in left_out.items() if kind in _MAY_BE_MEANT}:
        yield f"input: left out: {left_out_text(meant)}. Mend, convert or rename them if they belong to the dataset"
    look = nearly_black(sources)
    if look.dark:
        yield (
            f"input: {len(look.dark)} of {look.looked_at} pictures looked at are nearly black, the first is "
            f"{look.dark[0].place}. If they hold 12 bits in 16, scale their values up to 16 bits, or let the files say "
            "so (MaxSampleValue in TIFF, sBIT in PNG)"
        )


def filter_problems(filters: FilterConfig, class_names: Mapping[int, str]) -> Iterator[str]:
    """Yield which thresholds decide nothing on a dataset with these words (label -> word)."""
    words, _ = distinct_words(class_names)
    if len(words) == 1 and filters.min_label_probability is not None:
        yield (
            f"filters.min_label_probability: {filters.min_label_probability:g} filters nothing, because the "
            f"dataset has the one class word {words[0]!r} and label_probability compares class words: with one it is "
            "always 1. Set filters.min_label_probability to null, and filters.min_text_alignment to a threshold that "
            "`augment preview` suggests"
        )


def _candidate_problems(config: ExpandConfig, class_names: Mapping[int, str]) -> Iterator[str]:
    """Yield which minima of the candidates choose nothing on a dataset with these words, or choose what is rejected."""
    candidates, most = config.editing.candidates, config.filters.max_source_similarity
    if candidates is None:
        return
    words, _ = distinct_words(class_names)
    if len(words) == 1 and candidates.min_label_probability is not None:
        yield (
            f"editing.candidates.min_label_probability: {candidates.min_label_probability:g} chooses nothing, because "
            f"the dataset has the one class word {words[0]!r} and label_probability compares class words: with one it "
            "is always 1. Leave it out, and choose by min_text_alignment or min_source_similarity"
        )
    least = candidates.min_source_similarity
    if least is not None and most is not None and least >= most:
        yield (
            f"editing.candidates.min_source_similarity: edits from {least:g} on are chosen, and "
            f"filters.max_source_similarity {most:g} rejects them. Raise one, or lower the other"
        )


def dataset_warnings(
    config: InputConfig, sources: Sequence[Source], class_names: Mapping[int, str], left_out: Mapping[str, int]
) -> Iterator[str]:
    """Yield what is odd about the words for the classes (label -> word), and about the files."""
    yield from _file_warnings(sources, left_out)
    yield from _key_warnings(config, sources)
    yield from (f"input: {text}" for text in likely_masks(config.format, sources, left_out))
    yield from (f"input: {text}" for text in word_findings(class_names))
    yield from (f"input: {text}" for text in _duplicate_warnings(sources))


def _key_warnings(config: InputConfig, sources: Sequence[Source]) -> Iterator[str]:
    """Yield how class folders were read where they can be read in two ways."""
    if config.format != "imagefolder":
        return
    one_of_each = {s.label: s for s in reversed(sources)}.values()
    if not config.class_names:
        cut = [
            (folder, s.class_name)
            for s in one_of_each
            for folder, number in _NUMBERED_FOLDER.findall(s.locator)
            if folder == number + s.class_name  # and so the number is not part of the word
        ]
        if cut:
            some = ", ".join(f"{folder!r} is {word!r}" for folder, word in cut[:_SHOWN])
            yield (
                f"input: the numbers in front of the class folders are not part of the words: {some}"
                f"{', ...' if len(cut) > _SHOWN else ''}. Labels stay as they are; input.class_names gives other words"
            )
        return
    own = {s.label: s.key.partition("/")[0] for s in one_of_each}  # numbers are kept in keys as they are
    if misread := misread_keys(config.class_names, own):
        label = {name: label for label, name in own.items()}[misread[0]]
        yield (
            f"input.class_names: the keys are taken for the names of class folders, not for labels: {misread[0]} is "
            f"the folder {misread[0]!r}, whose label is {label}, and the folder of label {misread[0]} is "
            f"{own[int(misread[0])]!r}"
        )


def _duplicate_warnings(sources: Sequence[Source]) -> Iterator[str]:
    found = same_pictures(sources)
    if not found.same:
        return
    some = "; ".join(
        " = ".join(f"{s.place} ({s.class_name!r})" for s in {s.label: s for s in group}.values())
        for group in found.same[:_SHOWN]
    )
    limit = ""
    if found.compared < found.candidates:
        limit = f" ({found.compared} of {found.candidates} files of equal size were compared)"
    yield (
        f"{len(found.same)} picture(s) in more than one class{limit}: {some}"
        f"{'; ...' if len(found.same) > _SHOWN else ''}. Keep each in the class that it shows"
    )


def _fit_warnings(fit: Fit, sources: Sequence[Source]) -> Iterator[str]:
    """Yield what the fit cuts off, if that is much: judged by the headers of some local files."""
    local = [source for source in sources if not is_url(source.locator)]
    sized = [(s, size) for s in spread(local, _HEADERS_READ, "fit") if (size := picture_size(s)) is not None]
    lost = sorted(fit.share_lost(*size) for _, size in sized)
    if not lost or lost[len(lost) // 2] <= _MUCH_LOST:
        return
    worst, (width, height) = max(sized, key=lambda found: fit.share_lost(*found[1]))
    others = "pad (the whole picture)"
    if fit.name == "crop":
        others = f"bucket (edits of each picture's own aspect) or {others}"
    yield (
        f"input.fit: {fit.name} cuts off more than {_MUCH_LOST:.0%} of {sum(share > _MUCH_LOST for share in lost)} of "
        f"{len(lost)} pictures looked at, most of all {fit.share_lost(width, height):.0%} of {worst.place} "
        f"({width}x{height}). Take {others}, if what the class names may lie there"
    )


def _label_warnings(config: ExpandConfig, class_names: Mapping[int, str], clip: TextReader | None) -> Iterator[str]:
    """Yield what the scoring model does not read of the texts for the label score."""
    if clip is None:
        return
    words, templates = distinct_words(class_names)[0], config.clip.label_templates
    cut = cut_among({fill(t, word, {}): word for t in too_long(templates, words, clip, {}) for word in words}, [clip])
    if cut:
        count = len(words) * len(templates)
        yield (
            f"clip.label_templates: {len(cut)} of {count} texts for the label score are longer than "
            f"{config.clip.name!r} reads ({clip.length} tokens): of {cut[0].text[:120]!r} it reads "
            f"{cut[0].read['clip']!r}. Shorten them, or the words in input.class_names"
        )
