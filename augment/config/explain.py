"""What pydantic's errors mean to the person who wrote the YAML: place, key, value, reason, nearest match."""

from __future__ import annotations

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

KeyPath = tuple[str | int, ...]


_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")


def explain(
    errors: Iterable[Any], data: dict[str, Any], schema: type[BaseModel], origins: dict[KeyPath, str]
) -> list[str]:
    """Return a line for each of pydantic's errors; those of a value that fits no member of a union become one."""
    reasons: dict[tuple[str, str], list[str]] = {}  # by what is said before and after them
    for error in errors:
        before, reason, after = _explained(error, data, schema, origins)
        reasons.setdefault((before, after), []).append(reason)
    return [before + ", or: ".join(some) + after for (before, after), some in reasons.items()]


def _explained(
    error: Any, data: dict[str, Any], schema: type[BaseModel], origins: dict[KeyPath, str]
) -> tuple[str, str, str]:
    """Return where and which key, why, and what its value is."""
    kind, context = error["type"], error.get("ctx", {})
    path, fields, description, annotations = _locate(error["loc"], data, schema, kind in (*_UNKNOWN, "missing"))
    at = next(origins[path[:n]] for n in range(len(path), -1, -1) if path[:n] in origins)
    where = f"{at}: {dotted(path)}: "
    if kind in _UNKNOWN:
        return where, f"unknown key (value {_short(error['input'])}); {_nearest_key(path, fields, schema)}", ""
    if kind == "missing":
        return where, "required, but not given" + (f" ({description})" if description else ""), ""
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return _wrong_tag(error, path, annotations, origins)
    reason = str(context["error"]) if "error" in context else error["msg"]
    choices = re.findall(r"'([^']*)'", str(context.get("expected", "")))
    near = difflib.get_close_matches(str(error["input"]), choices, 1)
    reason += f"; did you mean {near[0]!r}?" if near else ""
    return where, reason, f" (value {_short(error['input'])}" + (f"; {description})" if description else ")")


def _wrong_tag(error: Any, path: KeyPath, annotations: list[Any], origins: dict[KeyPath, str]) -> tuple[str, str, str]:
    """Return the same for a section that does not say, or wrongly says, which member of a union it is."""
    key = error["ctx"]["discriminator"].strip("'")
    path = (*path, key)
    at = next(origins[path[:n]] for n in range(len(path), -1, -1) if path[:n] in origins)
    where = f"{at}: {dotted(path)}: "
    members = [m for annotation in annotations for m in _alternatives(annotation)]
    literals = [annotation for m in members for name, annotation, _ in _fields(m) if name == key]
    choices = [str(tag) for literal in literals for tag in typing.get_args(literal)]
    there_are = f"there are {', '.join(choices)}"
    if error["type"] == "union_tag_not_found":
        return where, f"required, but not given; {there_are}", ""
    near = difflib.get_close_matches(error["ctx"]["tag"], choices, 1)
    meant = f"did you mean {near[0]!r}? " if near else ""
    return where, f"unknown value {error['ctx']['tag']!r}; {meant}{there_are}", ""


def _locate(loc: KeyPath, data: Any, schema: Any, ends_in_key: bool) -> tuple[KeyPath, list[str], str, list[Any]]:
    """Return the place of an error in the user's data.

    That is its key path, the known keys of the section it is in, the field's description, and what may stand there.

    Pydantic's `loc` also names members of unions, which are no keys; they are recognised by being neither in the data
    nor in the schema. `ends_in_key`: the last part is a key all the same.
    """
    path: list[str | int] = []
    candidates, description, siblings = [schema], "", list[str]()
    for i, part in enumerate(loc):
        models = [t for c in candidates for t in _alternatives(c)]
        is_key = (
            (ends_in_key and i == len(loc) - 1) or (isinstance(data, dict) and part in data) or isinstance(part, int)
        )
        fields = [f for m in models for f in _fields(m) if f[0] == part]
        if not is_key and not fields:
            candidates = [m for m in models if _has_tag(m, part)] or candidates
            continue
        siblings = list(dict.fromkeys(f[0] for m in models for f in _fields(m)))
        description = next((f[2] for f in fields if f[2]), "")
        items = [a for m in models for a in typing.get_args(m)[-1:]]
        candidates = [f[1] for f in fields] or items
        path.append(part)
        if isinstance(data, dict):
            data = data.get(part)
        else:
            data = data[part] if isinstance(data, list) and isinstance(part, int) and part < len(data) else None
    return tuple(path), siblings, description, candidates


def _alternatives(annotation: Any) -> Iterator[Any]:
    """Yield the members of an annotation: unions and `Annotated` opened, other types as they are."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        yield from _alternatives(typing.get_args(annotation)[0])
    elif origin in (typing.Union, types.UnionType):
        for member in typing.get_args(annotation):
            yield from _alternatives(member)
    elif origin in (tuple, list, set, frozenset):
        yield types.GenericAlias(list, (typing.get_args(annotation)[0],))  # tuple[T, ...] ends in an ellipsis
    else:
        yield annotation


def _fields(model: Any) -> list[tuple[str, Any, str]]:
    """Return (key, annotation, description) of a pydantic model's or dataclass's fields; of anything else, none."""
    if not isinstance(model, type):
        return []
    if issubclass(model, BaseModel):
        return [(f.alias or name, f.annotation, f.description or "") for name, f in model.model_fields.items()]
    if dataclasses.is_dataclass(model):
        hints = typing.get_type_hints(model)
        return [(f.name, hints[f.name], "") for f in dataclasses.fields(model) if f.init]
    return []


def _has_tag(model: Any, tag: str | int) -> bool:
    return getattr(model, "__name__", None) == tag or any(tag in typing.get_args(f[1]) for f in _fields(model))


def _all_keys(schema: Any, prefix: KeyPath = ()) -> Iterator[KeyPath]:
    for model in _alternatives(schema):
        for name, annotation, _ in _fields(model):
            yield (*prefix, name)
            if len(prefix) < 4:  # a model may contain itself
                yield from _all_keys(annotation, (*prefix, name))


def _nearest_key(path: KeyPath, siblings: list[str], schema: type[BaseModel]) -> str:
    name = str(path[-1])
    near = difflib.get_close_matches(name, siblings, 1)
    if near:
        return f"did you mean {dotted((*path[:-1], near[0]))}?"
    elsewhere = list(dict.fromkeys(dotted(k) for k in _all_keys(schema) if k[-1] == name))
    if elsewhere:
        return f"did you mean {' or '.join(elsewhere)}?"
    return f"known keys here: {', '.join(siblings)}" if siblings else "remove it"


def dotted(path: KeyPath) -> str:
    """Return a key path as text, its parts joined by dots; `(top)` for the empty path."""
    return ".".join(str(p) for p in path) or "(top)"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def why_unread(path: Path, error: Exception) -> str:
    """Return why a file could not be read, with the nearest name if there is no such file."""
    if isinstance(error, IsADirectoryError):
        inside = sorted(p.name for p in path.glob("*.y*ml"))[:5]
        return "is a folder, not a file" + (f"; it holds {', '.join(inside)}" if inside else "")
    if isinstance(error, FileNotFoundError):
        folder = path.parent
        names = [p.name for p in folder.glob("*.y*ml")] if folder.is_dir() else []
        near = difflib.get_close_matches(path.name, names, 1, 0.75)
        return f"no such file; did you mean {folder / near[0]}?" if near else "no such file"
    if isinstance(error, UnicodeDecodeError):
        return "not a UTF-8 text file"
    return f"cannot be read ({error.strerror if isinstance(error, OSError) else error})"
