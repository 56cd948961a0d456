"""Where the prompts of images come from, behind one protocol: a grid, lines, a column of the manifest, or a table.

What a source has for an image and the guards refuse is dropped and counted; where nothing is left, that is an error.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from augment.errors import PromptError
from augment.prompts.balance import balanced_cells
from augment.prompts.draw import plan_source, planned_from_cells, source_prompt
from augment.prompts.grid import FOR_ALL, PromptConfig
from augment.prompts.guards import Guards, Refusal, distinct, guards_of
from augment.prompts.templates import fields_of, fill
from augment.prompts.words import word_key
from augment.seeding import seed_for
from augment.types import PlannedSource, Source, Variant

SEPARATOR = "|"  # between the prompts in a cell of a manifest


class PromptSource(Protocol):
    """Gives every image its source prompt and its target prompts."""

    def plan(self, source: Source, num_variants: int, seed: int) -> PlannedSource:
        """Return a source with at most `num_variants` target prompts; of a table with all that it has.

        They depend on `seed` and the source only; those of a balanced grid also on the job's other images, and on
        `num_variants`.

        Raises:
            PromptError: if there is no prompt for it.
        """

    def identity(self) -> dict[str, Any]:
        """Return what of it a fingerprint holds, as a JSON object."""


@dataclass(frozen=True)
class GridPrompts:
    """Templates over a grid of attributes; see `plan_source`, and `balanced_cells` for a balanced draw.

    Attributes:
        config: with templates.
        sources: all that are planned, in plan order; a weighted draw does not need them.
    """

    config: PromptConfig
    sources: Sequence[Source] = field(default=(), repr=False)
    _cells: dict[tuple[int, int], dict[str, tuple[int, ...]]] = field(default_factory=dict, repr=False, compare=False)

    def plan(self, source: Source, num_variants: int, seed: int) -> PlannedSource:
        """Return a source, one of `sources` if the draw is balanced, with `num_variants` combinations of its grid.

        Raises:
            PromptError: if no combination is left.
        """
        if self.config.draw == "weighted":
            return plan_source(source, self.config, num_variants, seed)
        sizes = num_variants, seed
        if sizes not in self._cells:  # of all sources at once
            self._cells[sizes] = balanced_cells(self.sources, self.config, num_variants, seed)
        return planned_from_cells(source, self.config, self._cells[sizes].get(source.key, ()), seed)

    def identity(self) -> dict[str, Any]:
        """Return the content of the config."""
        return self.config.identity()


@dataclass(frozen=True)
class LinePrompts:
    """Sentences for every class, or for one.

    Attributes:
        config: whose `lines` are there as a mapping.
        guards: a line that they refuse for a class is none of its prompts.
    """

    config: PromptConfig
    guards: Guards
    _of_class: dict[str, dict[str, Refusal | None]] = field(default_factory=dict, repr=False, compare=False)

    def plan(self, source: Source, num_variants: int, seed: int) -> PlannedSource:
        """Return a source with `num_variants` lines in an order of its own, which repeat once all were used."""
        name = source.class_name
        looked_at = self.of_class(name)
        lines = distinct([fill(line, name, {}) for line, refusal in looked_at.items() if refusal is None])
        if not lines:
            why = next((f": {line!r} is left out, because {r.why}" for line, r in looked_at.items() if r), "")
            raise PromptError(
                f"lines: no prompt is left for class {name!r}{why}. Write one under [{name}], or one with {{a_class}} "
                "for all classes"
            )
        order = sorted(lines, key=lambda line: seed_for(seed, source.key, line))
        variants = tuple(Variant(i, order[i % len(order)]) for i in range(num_variants))
        return PlannedSource(source, source_prompt(source, self.config), variants)

    def identity(self) -> dict[str, Any]:
        """Return the content of the config; of the lines a hash."""
        return self.config.identity()

    def of_class(self, class_name: str) -> dict[str, Refusal | None]:
        """Return the lines that are for a class, as they are written, with why the guards refuse them."""
        if class_name not in self._of_class:
            assert isinstance(self.config.lines, dict)
            own = self._by_word.get(word_key(class_name), ())
            lines = (*own, *self.config.lines.get(FOR_ALL, ()))
            self._of_class[class_name] = {
                line: self.guards.refusal(fill(line, class_name, {}), class_name) for line in lines
            }
        return self._of_class[class_name]

    @functools.cached_property
    def _by_word(self) -> dict[str, tuple[str, ...]]:
        """Return the lines by the word of their heading."""
        found: dict[str, tuple[str, ...]] = {}
        assert isinstance(self.config.lines, dict)
        for heading, some in self.config.lines.items():
            found[word_key(heading)] = (*found.get(word_key(heading), ()), *some)
        return found

    def refused(self, class_names: Collection[str]) -> list[tuple[str, str, Refusal]]:
        """Return class, line and reason of what the guards refuse.

        A line for all that names a class in words of its own is for that class, and no refusal for the others.
        """
        looked_at = [(name, line, r) for name in sorted(class_names) for line, r in self.of_class(name).items()]
        taken = {line for _, line, refusal in looked_at if refusal is None and not fields_of(line)}
        return [(name, line, refusal) for name, line, refusal in looked_at if refusal and line not in taken]


@dataclass(frozen=True)
class ColumnPrompts:
    """Prompts that came with the images; the others have theirs from another source.

    Attributes:
        config: whose `column` is the name of the column.
        guards: a text that they refuse is left out.
        others: for images without; None if there is no other source.
    """

    config: PromptConfig
    guards: Guards
    others: PromptSource | None

    def plan(self, source: Source, num_variants: int, seed: int) -> PlannedSource:
        """Return a source with the first of its own prompts, each once, or with those of the other source."""
        texts, refused = self.of_source(source)
        if texts:
            variants = tuple(Variant(i, text) for i, text in enumerate(texts[:num_variants]))
            return PlannedSource(source, source_prompt(source, self.config), variants)
        if self.others is not None:
            return self.others.plan(source, num_variants, seed)
        why = f"{refused[0][0]!r} is left out, because {refused[0][1].why}" if refused else "it has none"
        raise PromptError(
            f"column {self.config.column!r}: no prompt for image {source.key!r}: {why}. Write one, or give templates "
            "or lines for the images without"
        )

    def identity(self) -> dict[str, Any]:
        """Return the content of the config; the column's is part of the listing."""
        return self.config.identity()

    def of_source(self, source: Source) -> tuple[list[str], list[tuple[str, Refusal]]]:
        """Return the prompts of an image, and those that were refused with the reason."""
        cell = source.attributes.get(self.config.column or "", "")
        texts = distinct([" ".join(text.split()) for text in cell.split(SEPARATOR) if text.strip()])
        refused = [(text, why) for text in texts if (why := self.guards.refusal(text, source.class_name))]
        return [text for text in texts if text not in dict(refused)], refused


@dataclass(frozen=True)
class TablePrompts:
    """Prompts that were made before, and may have been edited by a person since.

    Attributes:
        rows: source key -> its source prompt and target prompts; images without an edit have none.
        made_of: what of their making a fingerprint holds.
        digest: hash of the rows.
    """

    rows: Mapping[str, tuple[str, tuple[Variant, ...]]]
    made_of: Mapping[str, Any]
    digest: str

    def plan(self, source: Source, num_variants: int, seed: int) -> PlannedSource:
        """Return a source with all its rows, which may be more or fewer than `num_variants`.

        Raises:
            PromptError: if the table does not know it.
        """
        if source.key not in self.rows:
            raise PromptError(f"image {source.key!r} is not in the table of prompts; run `augment prompts` again")
        prompt, variants = self.rows[source.key]
        return PlannedSource(source, prompt, variants)

    def identity(self) -> dict[str, Any]:
        """Return how the rows were made, and their hash."""
        return {**self.made_of, "table": self.digest}


def prompt_source(config: PromptConfig, class_names: Collection[str], sources: Sequence[Source] = ()) -> PromptSource:
    """Return the source of prompts that a config describes.

    Args:
        config: with `lines` read, if they are in a file.
        class_names: of the whole dataset.
        sources: all images that are planned, in plan order, which a balanced draw needs.
    """
    guards = guards_of(config, class_names)
    if config.column is None:
        return _written(config, guards, sources)
    alone = ColumnPrompts(config, guards, None)
    if not config.templates and config.lines is None:
        return alone
    without = sources if config.draw == "weighted" else [s for s in sources if not alone.of_source(s)[0]]
    return replace(alone, others=_written(config, guards, without))


def _written(config: PromptConfig, guards: Guards, sources: Sequence[Source]) -> PromptSource:
    """Return the source of the prompts that are in the config itself."""
    return GridPrompts(config, sources) if config.lines is None else LinePrompts(config, guards)


def refused_prompts(prompts: PromptSource, sources: Sequence[Source]) -> list[str]:
    """Return a warning for the lines, and one for the prompts of a column, that the guards refused: how many, and why.

    Nothing of a grid is refused one by one, nor of a table.
    """
    texts = []
    if isinstance(prompts, ColumnPrompts):
        refused = [(s.key, *pair) for s in sources for pair in prompts.of_source(s)[1]]
        if refused:
            texts.append(_counted(f"column {prompts.config.column!r}", "image", refused))
        if prompts.others is not None:
            texts += refused_prompts(prompts.others, sources)
    if isinstance(prompts, LinePrompts) and (refused_lines := prompts.refused({s.class_name for s in sources})):
        texts.append(_counted("lines", "class", refused_lines))
    return texts


def _counted(where: str, what: str, refused: Sequence[tuple[str, str, Refusal]]) -> str:
    kinds = Counter(refusal.kind for _, _, refusal in refused)
    owner, text, refusal = refused[0]
    each = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common())
    return f"{where}: {len(refused)} left out ({each}), the first is {text!r} for {what} {owner!r}: {refusal.why}"
