"""YAML files, `extends:` and `dotted.key=value` overrides -> a given pydantic model; strict, and all problems at once.

The YAML read here is the core schema of YAML 1.2: `1e-4` is a float, `on`, `off`, `yes` and `no` are strings, `010` is
ten, dates are strings, mapping keys are always strings, and a key given twice is an error.

    extends: base.yaml        # relative to this file; mappings are merged, anything else is replaced
    run: {num_workers: 4}

An override replaces what it names: `-o editing.solver={name: ddim}` leaves nothing of the section in the file, and
`-o editing.num_steps=20` touches that one key.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from augment.config.explain import KeyPath, dotted, explain, why_unread
from augment.config.paths import AS_WRITTEN
from augment.errors import ConfigError

M = TypeVar("M", bound=BaseModel)


def load_config(
    path: Path | str,
    schema: type[M],
    overrides: Sequence[str] = (),
    *,
    resolved: bool = False,
    origins: dict[KeyPath, str] | None = None,
) -> M:
    """Read, merge, override and validate a configuration.

    Args:
        path: YAML file with a mapping at its top.
        schema: the model to fill. With `extra="forbid"`, unknown keys are reported with their nearest match.
        overrides: `dotted.key=value`, the value in YAML; later ones win.
        resolved: whether `resolved_yaml` wrote the file: in its paths `~` and `$` are nothing but characters.
        origins: filled with what `origins_of` returns; a named pipe cannot be read a second time for that.

    Raises:
        ConfigError: with every problem of the files, the overrides and the values.
    """
    document = _Document()
    data = document.read(Path(path), seen=())
    model = _filled(document, data, str(path), schema, overrides, resolved=resolved)
    if origins is not None:
        origins |= document.origins
    return model


def parse_config(text: str, name: str, schema: type[M], overrides: Sequence[str] = ()) -> M:
    """Override and validate a configuration that is in no file.

    Args:
        text: YAML with a mapping at its top, without `extends`.
        name: what messages call it.
        schema, overrides: as for `load_config`.

    Raises:
        ConfigError: with every problem of the text, the overrides and the values.
    """
    document = _Document()
    return _filled(document, document.parse(text, name), name, schema, overrides)


def parse_mapping(text: str, name: str) -> dict[str, Any]:
    """Return the mapping in a YAML text as it stands there, `extends` included, before any schema.

    Raises:
        ConfigError: if it is not YAML, or holds no mapping; `name` is what the message calls it.
    """
    document = _Document()
    data = document.parse(text, name)
    if data is None:
        raise ConfigError(name, document.problems)
    return data


def origins_of(path: Path | str, overrides: Sequence[str] = ()) -> dict[KeyPath, str]:
    """Return where each key of a configuration is said: `file:line`, or `-o` and the override; problems are ignored."""
    document = _Document()
    data = document.read(Path(path), seen=()) or {}
    for override in overrides:
        document.override(data, override)
    return document.origins


def _filled(
    document: _Document,
    data: dict[str, Any] | None,
    name: str,
    schema: type[M],
    overrides: Sequence[str],
    *,
    resolved: bool = False,
) -> M:
    if data is None:
        raise ConfigError(name, document.problems)
    for override in overrides:
        document.override(data, override)
    try:
        model = schema.model_validate(data, context=AS_WRITTEN if resolved else None)
    except ValidationError as error:
        document.problems += explain(error.errors(), data, schema, document.origins)
    if document.problems:
        raise ConfigError(name, document.problems)
    return model


def resolved_yaml(model: BaseModel) -> str:
    """Return the configuration as YAML, every default filled in, fields in the order of their declaration.

    `load_config` reads it back to an equal model, as `resolved`, and so does any YAML 1.1 reader.
    """
    return yaml.dump(model.model_dump(mode="json"), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def inline_yaml(value: Any) -> str:
    """Return a value as YAML in one line, to stand behind a key; `load_config` reads it back."""
    style = '"' if isinstance(value, str) and "\n" in value else None  # the only one that escapes the end of a line
    text: str = yaml.dump(
        value,
        Dumper=_Dumper,
        default_style=style,
        default_flow_style=True,
        sort_keys=False,
        allow_unicode=True,
        width=sys.maxsize,
    )
    return text.removesuffix("\n").removesuffix("\n...")


# --- YAML ------------------------------------------------------------------------------------------------------------

_CORE_SCHEMA = {
    "null": r"~|null|Null|NULL|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+",
    "float": r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
}


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {}  # noqa: RUF012 - declared so by PyYAML; none of YAML 1.1's


class _Dumper(yaml.SafeDumper):
    """Quotes what either version of YAML would read as something else than a string."""


for _tag, _pattern in _CORE_SCHEMA.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), None)

_Loader.add_constructor(
    "tag:yaml.org,2002:int",
    lambda _, node: int(node.value, {"0o": 8, "0x": 16}.get(node.value[:2], 10)),
)


def _parse(text: str, name: str, problems: list[str], origins: dict[KeyPath, str]) -> Any:
    """Return the value of a YAML text; problems and the `file:line` of each key are added to the last two arguments."""

    def build(node: yaml.Node, path: KeyPath, parents: tuple[yaml.Node, ...]) -> Any:
        where = f"{name}:{node.start_mark.line + 1}"
        origins[path] = where
        if node in parents:
            problems.append(f"{where}: {dotted(path)}: an alias that contains itself")
            return None
        if isinstance(node, yaml.MappingNode):
            result: dict[str, Any] = {}
            for key_node, value_node in node.value:
                line = f"{name}:{key_node.start_mark.line + 1}"
                if not isinstance(key_node, yaml.ScalarNode):
                    problems.append(f"{line}: {dotted(path)}: a key must be plain text, not a list or a mapping")
                    continue
                key = key_node.value
                if key in result:
                    problems.append(
                        f"{line}: {dotted((*path, key))}: given twice (first at {origins[(*path, key)]}); keep one"
                    )
                    continue
                result[key] = build(value_node, (*path, key), (*parents, node))
                origins[(*path, key)] = line
            return result
        if isinstance(node, yaml.SequenceNode):
            return [build(item, (*path, i), (*parents, node)) for i, item in enumerate(node.value)]
        return loader.construct_object(node)

    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        return None if node is None else build(node, (), ())
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problems.append(f"{name}:{line}: not valid YAML: {error.problem or error.context}")
    except RecursionError:
        problems.append(f"{name}: not valid YAML: nested too deeply")
    except (yaml.YAMLError, ValueError) as error:
        problems.append(f"{name}: not valid YAML: {' '.join(str(error).split())}")
    return None


class _Document:
    """The merged mapping of a file and its bases: problems found so far and where each key came from."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.origins: dict[KeyPath, str] = {}

    def read(self, path: Path, seen: tuple[Path, ...]) -> dict[str, Any] | None:
        """Return the file's mapping over that of the files it extends, or None with at least one problem noted."""
        real = Path(os.path.realpath(path))  # `resolve` raises for links that lead to themselves
        if real in seen:
            self.problems.append(f"{path}: extends itself, by way of {', '.join(str(p.name) for p in seen)}")
            return None
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            self.problems.append(f"{path}: {why_unread(path, error)}")
            return None
        own_origins: dict[KeyPath, str] = {}
        data = self._mapping(text, str(path), own_origins)
        if data is None:
            return None
        base: dict[str, Any] = {}
        if "extends" in data:
            parent = data.pop("extends")
            if not isinstance(parent, str) or not parent:
                where = own_origins[("extends",)]
                self.problems.append(f"{where}: extends: must name one YAML file (value {parent!r})")
                return None
            extended = self.read(path.parent / parent, (*seen, real))
            if extended is None:
                return None
            base = extended
        self.origins |= own_origins
        return _merge(base, data)

    def parse(self, text: str, name: str) -> dict[str, Any] | None:
        """Return the mapping in a text, or None with at least one problem noted."""
        return self._mapping(text, name, self.origins)

    def _mapping(self, text: str, name: str, origins: dict[KeyPath, str]) -> dict[str, Any] | None:
        known = len(self.problems)
        data = _parse(text, name, self.problems, origins)
        if isinstance(data, dict):
            return data
        if len(self.problems) == known:
            found = "nothing" if data is None else f"a {type(data).__name__}"
            self.problems.append(f"{name}: must hold `key: value` lines, but holds {found}")
        return None

    def override(self, data: dict[str, Any], text: str) -> None:
        """Apply one `dotted.key=value` to `data` in place."""
        key, equals, value_text = text.partition("=")
        path = tuple(key.strip().split("."))
        where = f"-o {text}"
        if not equals or not all(path):
            self.problems.append(f"{where}: must have the form dotted.key=value")
            return
        section: Any = data
        for depth, name in enumerate(path[:-1]):
            if section.get(name) is None:
                section[name] = {}
            section = section[name]
            if not isinstance(section, dict):
                kind = "a list: give it whole" if isinstance(section, list) else f"one value ({section!r})"
                self.problems.append(f"{where}: {dotted(path[: depth + 1])} has no keys below it, it is {kind}")
                return
        known = len(self.problems)
        value = _parse(value_text, where, self.problems, {})
        if len(self.problems) == known:
            section[path[-1]] = value
            for old in [p for p in self.origins if p[: len(path)] == path]:
                del self.origins[old]
            self.origins[path] = where


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merge(base[key], value) if both else value
    return merged
