"""Write the reference of the `augment` command from the commands themselves.

python -m jobs.render_commands [FILE]

What a command does is its docstring, what an argument means is its help: the page says what `augment COMMAND --help`
says. The same commands give the same bytes, whatever the width of the terminal or the release of typer.
"""

from __future__ import annotations

import argparse
import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal

import typer
from typer.models import ArgumentInfo, OptionInfo

from augment.cli.main import app

ROOT = Path(__file__).parent.parent
PAGE = Path("docs/commands.md")
VALUES = {str: "TEXT", int: "N", float: "NUMBER", Path: "PATH"}
INTRODUCTION = """# Commands

<!-- Written by `python -m jobs.render_commands` from augment/cli; change the docstrings there, then `make docs`. -->

The `augment` command is installed with the package, and `augment COMMAND --help` says what this page says. What each
command needs, writes and promises to programs is in [Exit codes and JSON](exit_codes.md).

Configs are YAML files; a misspelt key is named with its nearest match, and all problems are listed at once.
`-o dotted.key=value` overrides a key of the config and can be repeated. An output is a folder, or the URL of a prefix
in an object store such as `s3://bucket/folder`.
"""


@dataclass(frozen=True)
class Parameter:
    """One argument or option of a command.

    Attributes:
        usage: how it stands in the command line, in brackets if it may be left out.
        words: the names that can be typed, with what follows them.
        help: what it means.
        default: its value if it is left out, as text; "" if it has none.
    """

    usage: str
    words: str
    help: str
    default: str


@dataclass(frozen=True)
class Command:
    """One command: its name, its docstring, its parameters in the order of its signature."""

    name: str
    text: str
    parameters: tuple[Parameter, ...]


def read_commands(application: typer.Typer = app) -> list[Command]:
    """Return the commands of a typer application, in the order in which they were registered."""
    commands = []
    for registered in application.registered_commands:
        function = registered.callback
        assert function is not None
        name = registered.name or function.__name__.replace("_", "-")
        commands.append(Command(name, inspect.getdoc(function) or "", tuple(_parameters(function))))
    return commands


def render(commands: list[Command]) -> str:
    """Return the page, as Markdown."""
    rows = [f"| [`augment {c.name}`](#augment-{c.name}) | {_cell(_first_paragraph(c.text))} |" for c in commands]
    index = "\n".join(["| command | what it does |", "|---|---|", *rows])
    return "\n".join([INTRODUCTION, index, *(f"\n{_section(command)}" for command in commands)]) + "\n"


def _first_paragraph(text: str) -> str:
    return " ".join(text.partition("\n\n")[0].split())


def _section(command: Command) -> str:
    usage = " ".join(["augment", command.name, *(parameter.usage for parameter in command.parameters)])
    rows = [f"| `{_cell(p.words)}` | {_cell(p.help)} | {_cell(p.default)} |" for p in command.parameters]
    table = "\n".join(["| argument or option | meaning | default |", "|---|---|---|", *rows])
    return f"## augment {command.name}\n\n{command.text}\n\n```text\n{usage}\n```\n\n{table}"


def _parameters(function: Callable[..., Any]) -> list[Parameter]:
    """Return what typer makes of a signature: each parameter is Annotated with its Argument or Option."""
    hints = typing.get_type_hints(function, include_extras=True)
    parameters = []
    for name, parameter in inspect.signature(function).parameters.items():
        annotation, info = _unpacked(hints[name])
        repeated = typing.get_origin(annotation) is list
        needed = parameter.default is inspect.Parameter.empty
        if isinstance(info, ArgumentInfo):
            words = usage = name.upper()
        else:
            # In Annotated, the first name that typer.Option is given arrives as its default.
            first = [info.default] if isinstance(info.default, str) else []
            names = [*first, *(info.param_decls or ())] or [f"--{name.replace('_', '-')}"]
            value = "" if annotation is bool else f" {info.metavar or _value(annotation)}"
            words, usage = ", ".join(names) + value, names[0] + value
        usage = usage if needed else f"[{usage}]"
        unset = needed or parameter.default in (None, False)
        default = "required" if needed else "" if unset else f"`{parameter.default}`"
        parameters.append(Parameter(f"{usage}..." if repeated else usage, words, _help(info), default))
    return parameters


def _unpacked(hint: Any) -> tuple[Any, ArgumentInfo | OptionInfo]:
    """Return the type of a parameter, without `| None`, and what typer was told about it."""
    assert typing.get_origin(hint) is Annotated, f"{hint} is not annotated with typer.Argument or typer.Option"
    annotation, info = typing.get_args(hint)
    kinds = [kind for kind in typing.get_args(annotation) if kind is not NoneType]
    is_optional = NoneType in typing.get_args(annotation)
    return (kinds[0] if is_optional else annotation), info


def _value(annotation: Any) -> str:
    if typing.get_origin(annotation) is Literal:
        return "|".join(map(str, typing.get_args(annotation)))
    return VALUES[typing.get_args(annotation)[0] if typing.get_origin(annotation) is list else annotation]


def _help(info: ArgumentInfo | OptionInfo) -> str:
    limits = [f"at least {info.min:g}"] if info.min is not None else []
    limits += [f"at most {info.max:g}"] if info.max is not None else []
    return " ".join(filter(None, [info.help, f"({', '.join(limits)})" if limits else ""]))


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Write the reference of the augment command.")
    parser.add_argument("file", type=Path, nargs="?", default=ROOT / PAGE, help=f"default: {PAGE}")
    file = parser.parse_args().file
    file.write_text(render(read_commands()))
    print(f"wrote {file}")


if __name__ == "__main__":
    main()
