"""Syntax of other programs in prompts: here it has no meaning, and goes to the model as it is written."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

from augment.prompts.grid import PromptConfig

_NUMBER = r"\s*-?\d*\.?\d+\s*"
_WEIGHTS = re.compile(
    rf"\([^()]*:{_NUMBER}\)"  # (fox:1.2)
    r"|\(\([^()]*\)\)"  # ((fox))
    r"|\[[^\[\]]+\]"  # [fox], [fox:owl:0.5]
    r"|[\w)](\+{2,}|-{2,})(?=\W|$)"  # fox++, fox--
    rf"|\)(\++|-+|{_NUMBER})(?=[\s,.;]|$)"  # (red fox)+, (red fox)1.3
    r"|<\w+:[^<>]*>"  # <lora:name:1>
    r"|(?:^|\s)--[a-z]+"  # --ar 16:9
)


def syntax_findings(config: PromptConfig) -> Iterator[str]:
    """Yield a text for each kind of syntax that would go into prompts literally, with where it is first."""
    texts = {
        f"attributes.{attribute}.{value.name}": value.text
        for attribute, values in config.attributes.items()
        for value in values
    }
    if braces := [where for where, text in texts.items() if "{" in text or "}" in text]:
        yield (
            f"{_first(texts, braces)} has braces, which go into the prompt as they are: fields are filled in templates "
            "only. Write the field into the templates, or leave the braces out"
        )
    sentences = {f"templates.{i}": template for i, template in enumerate(config.templates)}
    sentences |= {"source_template": config.source_template, **texts}
    weights = {where: found.group().strip() for where, text in sentences.items() if (found := _WEIGHTS.search(text))}
    if weights:
        part = next(iter(weights.values()))
        yield (
            f"{_first(sentences, weights)} has the syntax of weights, {part!r}, which goes into the prompt as it is: "
            "no weights are read here. Write the words alone"
        )


def _first(texts: Mapping[str, str], places: Collection[str]) -> str:
    where = next(iter(places))
    more = f" (and {len(places) - 1} more)" if len(places) > 1 else ""
    return f"{where}: {texts[where]!r}{more}"
