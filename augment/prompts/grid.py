"""The grid of attribute combinations a class may be edited to, and the weight of each."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import re
from collections.abc import Collection, Mapping
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from augment.config import ExpandedPath
from augment.prompts.captioner import CaptionerConfig
from augment.prompts.llm import LanguageModelConfig
from augment.prompts.templates import CLASS_FIELDS, fields_of

MAX_COMBINATIONS = 1_000_000  # the grid is laid out in memory once per image
FOR_ALL = "*"  # in `lines`: prompts for every class


class AttributeValue(BaseModel):
    """One value of an attribute, for example the background `snow`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, description="how records, overrides and exclusions call it")
    text: str = Field(description="the words a template gets; may be empty")
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False, description="how often, relative to its siblings")


class PromptConfig(BaseModel):
    """`configs/prompts/*.yaml`: where prompts come from. Templates over a grid of attributes, lines, or a column."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    templates: tuple[str, ...] = Field(
        default=(), description="target prompts; fields: {class}, {a_class} (with its article) and attribute names"
    )
    lines: ExpandedPath | dict[str, tuple[str, ...]] | None = Field(
        default=None,
        description="instead of templates: a text file with a prompt in each line, relative to this file, or class -> "
        "its prompts; those under `*` are for every class",
    )
    column: str | None = Field(
        default=None,
        min_length=1,
        description="column of the manifest, or key in the json of a tar, with the prompts of each image, `|` between "
        "them; images without take templates or lines",
    )
    blocklist: tuple[str, ...] = Field(default=(), description="words that no prompt may have")
    llm: LanguageModelConfig | None = Field(
        default=None, description="a language model that varies the prompts, for `augment prompts`"
    )
    caption: CaptionerConfig | None = Field(
        default=None, description="a model that describes images without a caption, for `augment prompts`"
    )
    source_template: str = Field(
        default="a picture of {a_class}",
        description="describes a source that came without a caption; attributes not known of it are left out",
    )
    scene_only: bool = Field(
        default=False,
        description="prompts name the scene and not the class, for objects that no word describes: what is kept of "
        "them is the inversion's",
    )
    attributes: dict[str, tuple[AttributeValue, ...]] = Field(
        default={}, description="what varies: attribute name -> its values"
    )
    overrides: dict[str, dict[str, dict[str, float]]] = Field(
        default={}, description="other weights for a class: class -> attribute -> value -> weight; 0 rules it out"
    )
    exclude: tuple[dict[str, str], ...] = Field(
        default=(), description="combinations never made, for example {class: sailboat, background: desert}"
    )
    differ_from_source: tuple[str, ...] = Field(
        default=(), description="attributes in which an edit must differ from its source, where that is known"
    )
    draw: Literal["weighted", "balanced"] = Field(
        default="weighted",
        description="`weighted`: each image draws on its own; `balanced`: in every class each value is made as often "
        "as its weight says, with images gone through in plan order",
    )

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns of a manifest that prompts are in."""
        return (self.column,) if self.column is not None else ()

    def identity(self) -> dict[str, Any]:
        """Return what of the prompts a fingerprint holds: all that changes which prompts are planned.

        What was not there at first is left out as long as it is not used: earlier plans mean the same.
        """
        later: dict[str, object] = {"lines": self.lines, "column": self.column, "blocklist": self.blocklist}
        later |= {"llm": self.llm, "caption": self.caption, "draw": self.draw != "weighted"}
        content = self.model_dump(mode="json", exclude=set(later))
        content |= {name: self.model_dump(mode="json", include={name})[name] for name, used in later.items() if used}
        if self.lines:
            state = json.dumps(content["lines"], sort_keys=True).encode()
            content["lines"] = hashlib.sha256(state).hexdigest()[:16]
        made_by = {"llm": self.llm, "caption": self.caption}
        return content | {name: config.identity() for name, config in made_by.items() if config is not None}

    @model_validator(mode="after")
    def _consistent(self) -> PromptConfig:
        problems = [*self._source_problems(), *self._template_problems(), *self._grid_problems()]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _source_problems(self) -> list[str]:
        problems = []
        if not self.templates and self.lines is None and self.column is None:
            problems.append("there are no prompts: give templates, lines, or a column of the manifest")
        if self.templates and self.lines is not None:
            problems.append("templates and lines are two sources of the same prompts: leave one of them out")
        if self.attributes and not self.templates:
            problems.append("attributes have no template that they go into: give templates, or leave attributes out")
        if self.draw == "balanced" and not self.templates:
            problems.append("draw: only templates have attributes to balance: leave it out, or give templates")
        if self.scene_only and self.caption is not None and self.caption.names_class():
            problems.append("caption: its texts name the class, and scene_only says that no prompt does: leave it out")
        problems += [f"blocklist: {word!r} has no letter" for word in self.blocklist if not re.search(r"\w", word)]
        return problems

    def _template_problems(self) -> list[str]:
        problems = []
        known = (*CLASS_FIELDS, *self.attributes)
        for template in (*self.templates, self.source_template):
            try:
                names = fields_of(template)
            except ValueError as error:
                problems.append(str(error))
                continue
            unknown = [n for n in names if n not in known]
            if unknown:
                problems.append(
                    f"template {template!r} has an unknown field {unknown[0]!r} (known: {', '.join(known)})"
                )
            names_class = bool(set(names) & set(CLASS_FIELDS))
            if not names_class and not self.scene_only:
                problems.append(
                    f"template {template!r} has neither {{class}} nor {{a_class}}: the label would be lost (unless the "
                    "inversion keeps it: `scene_only: true` is for objects that no word describes)"
                )
            if names_class and self.scene_only:
                problems.append(
                    f"template {template!r} names the class, and scene_only says that no prompt does: take the field "
                    "out, or scene_only"
                )
        return problems

    def _grid_problems(self) -> list[str]:
        problems = []
        for attribute, values in self.attributes.items():
            if attribute in CLASS_FIELDS or not attribute.isidentifier():
                problems.append(f"attributes: {attribute!r} cannot be the name of an attribute")
            if not values:
                problems.append(f"attributes.{attribute}: has no values")
            if self.templates and not any(f"{{{attribute}}}" in template for template in self.templates):
                problems.append(
                    f"attributes.{attribute}: no template has {{{attribute}}}, so its values would be in no prompt: "
                    "edits would be made twice, and their records name what was never asked for. Take it out, or into "
                    "a template"
                )
            texts = [v.text for v in values]
            problems += [
                f"attributes.{attribute}: two values have the text {text!r}, which makes the same edits twice; keep one"
                for text in dict.fromkeys(texts)
                if texts.count(text) > 1
            ]
            names = [v.name for v in values]
            problems += [
                f"attributes.{attribute}: {n!r} is given twice" for n in dict.fromkeys(names) if names.count(n) > 1
            ]
        for class_name, weights in self.overrides.items():
            for attribute, by_value in weights.items():
                for value, weight in by_value.items():
                    problems += self._unknown(f"overrides.{class_name}", attribute, value)
                    if not (math.isfinite(weight) and weight >= 0):
                        problems.append(f"overrides.{class_name}.{attribute}.{value}: weight {weight} is not >= 0")
        for i, combination in enumerate(self.exclude):
            if not combination:
                problems.append(f"exclude.{i}: is empty and would exclude everything")
            for attribute, value in combination.items():
                if attribute != "class":
                    problems += self._unknown(f"exclude.{i}", attribute, value)
        for attribute in self.differ_from_source:
            problems += self._unknown("differ_from_source", attribute, None)
        size = math.prod(len(v) for v in self.attributes.values())
        if size > MAX_COMBINATIONS:
            problems.append(f"attributes: {size} combinations are more than {MAX_COMBINATIONS}; give fewer values")
        return problems

    def _unknown(self, where: str, attribute: str, value: str | None) -> list[str]:
        if attribute not in self.attributes:
            return [f"{where}: unknown attribute {attribute!r} (known: {', '.join(self.attributes)})"]
        names = [v.name for v in self.attributes[attribute]]
        if value is not None and value not in names:
            return [f"{where}: {attribute} has no value {value!r} (known: {', '.join(names)})"]
        return []


def combination_weights(config: PromptConfig, class_name: str, source_attributes: Mapping[str, str]) -> np.ndarray:
    """Return the weight of every combination for one image, float64, one axis per attribute; 0 where it is ruled out.

    A combination's weight is the product of its values' weights.
    """
    axes = {attribute: {v.name: i for i, v in enumerate(values)} for attribute, values in config.attributes.items()}
    per_axis = axis_weights(config, class_name)
    weights: np.ndarray = functools.reduce(np.multiply.outer, per_axis, np.ones(()))
    known = {a: value_meant(axes[a], source_attributes.get(a, "")) for a in config.differ_from_source}
    same = [{a: value} for a, value in known.items() if value is not None]
    for combination in (*config.exclude, *same):
        if combination.get("class", class_name) == class_name:
            fixed = [axes[a][combination[a]] if a in combination else slice(None) for a in axes]
            weights[tuple(fixed)] = 0.0
    return weights


def value_meant(names: Collection[str], said: str) -> str | None:
    """Return the name of the value that a dataset calls so; None if none is.

    That is the name itself, or else the only one that differs in case, spaces, hyphens and underscores alone.
    """
    if said in names:
        return said
    alike = [name for name in names if _folded(name) == _folded(said) != ""]
    return alike[0] if len(alike) == 1 else None


def _folded(name: str) -> str:
    return " ".join(re.sub(r"[_-]", " ", name.casefold()).split())


def axis_weights(config: PromptConfig, class_name: str) -> list[np.ndarray]:
    """Return the weights of each attribute's values for a class, float64, in the order of the config."""
    overrides = config.overrides.get(class_name, {})
    return [
        np.array([overrides.get(attribute, {}).get(v.name, v.weight) for v in values])
        for attribute, values in config.attributes.items()
    ]
