"""House rules that no linter checks: one name for one thing; the size of files and functions."""

from __future__ import annotations

import ast
import functools
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.run.runs import ROOT

PACKAGE = ROOT / "augment"
MOST_LINES_OF_A_FILE, MOST_LINES_OF_A_FUNCTION, MOST_PARAMETERS = 300, 60, 8
# Functions and classes for users that are imported from their modules: their packages do not export them.
API_OF_MODULES = {"MixedSamples", "interpolate", "mixed_loader", "tune"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """A file of the package: its path, its number of lines, its syntax tree."""

    path: Path
    lines: int
    tree: ast.Module

    @property
    def where(self) -> str:
        return str(self.path.relative_to(ROOT))


@functools.cache
def modules() -> list[Module]:
    """All Python files of the package, sorted by path."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        text = path.read_text()
        found.append(Module(path, len(text.splitlines()), ast.parse(text)))
    return found


def functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def exported() -> set[str]:
    """The names in `__all__` of every package's `__init__.py` or `__init__.pyi`, and `API_OF_MODULES`."""
    names = set(API_OF_MODULES)
    for init in PACKAGE.rglob("__init__.py*"):
        for node in ast.walk(ast.parse(init.read_text())):
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                names |= set(ast.literal_eval(node.value))
    return names


def parameters(function: Function) -> int:
    """The parameters that a caller gives: without `self` and `cls`; `*args` and `**kwargs` are one each."""
    a = function.args
    named = [p.arg for p in (*a.posonlyargs, *a.args, *a.kwonlyargs)]
    return sum(name not in ("self", "cls") for name in named) + (a.vararg is not None) + (a.kwarg is not None)


def test_no_file_is_longer_than_300_lines() -> None:
    assert {m.where: m.lines for m in modules() if m.lines > MOST_LINES_OF_A_FILE} == {}


def test_no_function_is_longer_than_60_lines() -> None:
    """From `def` to its last line, the docstring included, decorators not."""
    lengths = {f"{m.where}:{f.name}": 1 + (f.end_lineno or 0) - f.lineno for m in modules() for f in functions(m.tree)}
    assert {name: length for name, length in lengths.items() if length > MOST_LINES_OF_A_FUNCTION} == {}


def test_only_exported_functions_have_more_than_8_parameters() -> None:
    """Exported is what the `__all__` of a package's `__init__` or `API_OF_MODULES` names: a function, or a class with
    its methods. Every other function of the package may have 8 parameters, methods and nested functions included."""
    api, too_many = exported(), {}
    for m in modules():
        free = {
            id(function)
            for node in m.tree.body
            if isinstance(node, Function | ast.ClassDef) and node.name in api
            for function in functions(node)
        }
        for function in functions(m.tree):
            if id(function) not in free and parameters(function) > MOST_PARAMETERS:
                too_many[f"{m.where}:{function.name}"] = parameters(function)
    assert too_many == {}


def test_no_two_public_classes_or_functions_have_one_name() -> None:
    """At the top level of modules. The commands in `augment/cli` are called what the command line calls them."""
    owners: dict[str, list[str]] = defaultdict(list)
    for m in modules():
        if m.path.parent == PACKAGE / "cli":
            continue
        for node in m.tree.body:
            if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
                owners[node.name].append(m.where)
    assert {name: where for name, where in owners.items() if len(where) > 1} == {}
