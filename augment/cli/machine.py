"""Commands that look at the machine."""

from __future__ import annotations

from typing import Annotated

import typer

from augment.cli.output import PROBLEMS, AsJson, messages, show


def doctor(
    out: Annotated[str | None, typer.Argument(help="output folder or URL, to be tried with a small file")] = None,
    online: Annotated[bool, typer.Option("--online", help="also ask whether the Hugging Face hub answers")] = False,
    as_json: AsJson = False,
) -> None:
    """Check this machine: versions, GPU, memory, disk, caches, Ray, and pairs of packages known not to work."""
    with messages(as_json):
        from augment.doctor import diagnose, lines

        result = diagnose(out, online)
        show(result.as_dict(), lines(result), as_json)
        if not result.ok:
            raise typer.Exit(PROBLEMS)
