"""The reference of the command line: what typer is told is what the page says, and the page is the one in docs/."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
import typer

from jobs.render_commands import PAGE, ROOT, main, read_commands, render


def make_it(
    config: Annotated[Path, typer.Argument(help="a file")],
    out: Annotated[Path, typer.Option("--out", help="a folder")],
    overrides: Annotated[list[str] | None, typer.Option("-o", metavar="KEY=VALUE", help="again and again")] = None,
    stages: Annotated[list[str] | None, typer.Option("--stage")] = None,
    split: Annotated[Literal["val", "test"], typer.Option(help="which")] = "val",
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="a | b")] = False,
) -> None:
    """Make it,
    whatever it is.

    And more.
    """


def test_what_typer_is_told_is_on_the_page() -> None:
    application = typer.Typer()
    application.command()(make_it)
    (command,) = read_commands(application)
    assert (command.name, command.text) == ("make-it", "Make it,\nwhatever it is.\n\nAnd more.")
    assert [(p.usage, p.words, p.help, p.default) for p in command.parameters] == [
        ("CONFIG", "CONFIG", "a file", "required"),
        ("--out PATH", "--out PATH", "a folder", "required"),
        ("[-o KEY=VALUE]...", "-o KEY=VALUE", "again and again", ""),
        ("[--stage TEXT]...", "--stage TEXT", "", ""),
        ("[--split val|test]", "--split val|test", "which", "`val`"),
        ("[--limit N]", "--limit, -n N", "(at least 1)", ""),
        ("[--json]", "--json", "a | b", ""),
    ]
    page = render([command])
    assert "| [`augment make-it`](#augment-make-it) | Make it, whatever it is. |" in page
    usage = "augment make-it CONFIG --out PATH [-o KEY=VALUE]... [--stage TEXT]..."
    usage += " [--split val|test] [--limit N] [--json]"
    assert f"## augment make-it\n\nMake it,\nwhatever it is.\n\nAnd more.\n\n```text\n{usage}\n```\n" in page
    assert "| `--json` | a \\| b |  |\n" in page


def test_the_page_in_docs_is_the_one_of_this_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["render_commands", str(tmp_path / "page.md")])
    main()
    assert capsys.readouterr().out == f"wrote {tmp_path / 'page.md'}\n"
    page = (tmp_path / "page.md").read_text()
    assert (ROOT / PAGE).read_text() == page, "run `make docs` and commit docs/commands.md"
    for name in ("expand", "verify", "evaluate-tiny"):
        assert f"\n## augment {name}\n" in page
