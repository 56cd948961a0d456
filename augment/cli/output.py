"""What every command shares: its options, its messages, its exit code.

Exit codes: 0 all is well; 1 the command ran and found problems; 2 the config, the input or the output cannot be used;
3 more failed than the budget allows; 142 a unit hung that nothing could interrupt; 130 and 143 stopped by SIGINT and
SIGTERM; with everything finished so far kept.
What programs read is on stdout; progress, warnings and errors are on stderr. See docs/exit_codes.md.
"""

from __future__ import annotations

import contextlib
import errno
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from augment.errors import AugmentError, Interrupted

if TYPE_CHECKING:
    from augment.report.progress import RunProgress

PROBLEMS = 1
Output = Annotated[str, typer.Argument(help="output folder of `augment expand`, or its URL (s3://...)")]
Overrides = Annotated[
    list[str] | None, typer.Option("-o", metavar="KEY=VALUE", help="override: dotted.key=value, repeatable")
]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object instead of text, errors too")]


@contextlib.contextmanager
def messages(as_json: bool = False) -> Iterator[None]:
    """Print an error that the user can solve as one message, and leave with its code; others keep their traceback."""
    try:
        yield
    except KeyboardInterrupt:
        _stopped("stopped by SIGINT", 130, as_json)
    except Interrupted as error:
        _stopped(f"{error}; finished units are kept, the same command goes on from here", error.exit_code, as_json)
    except AugmentError as error:
        _fail(str(error), error.exit_code, as_json)
    except OSError as error:  # from the operating system: a full disk, a folder without permission
        _fail(_explained(error), AugmentError.exit_code, as_json)


def show(
    content: dict[str, Any], lines: list[str], as_json: bool, problems: Iterable[str] = (), code: int = PROBLEMS
) -> None:
    """Print a result; leave with `code` if there are problems, which `content` has in it already."""
    found = list(problems)
    if as_json or lines:
        print(json.dumps(content) if as_json else "\n".join(lines), flush=True)
    if found:
        if not as_json:
            print("\n".join(found), file=sys.stderr)
        raise typer.Exit(code)


def warn(warnings: Iterable[str], as_json: bool) -> None:
    """Print what is pointed out and is no problem; with `--json` it is in the content already."""
    if not as_json:
        for warning in warnings:
            print(f"warning: {warning}", file=sys.stderr)


def live_display(progress: RunProgress) -> contextlib.AbstractContextManager[Callable[[], None]]:
    """Show a run on stderr while it is at work."""
    from augment.report.display import display

    return display(progress, sys.stderr)


_MAKE_ROOM = "Make room; what is finished is kept, and the same command goes on from there"
_REMEDIES = {
    errno.ENOSPC: f"no space is left there. {_MAKE_ROOM}",
    errno.EDQUOT: f"the quota there is used up. {_MAKE_ROOM}",
    errno.EROFS: "the file system there is read-only. Name a folder that can be written",
    errno.EACCES: "there is no permission. Change it, or name another folder",
}


def _explained(error: OSError) -> str:
    """Return what the operating system refused, with the path, and the next thing to do where it is known."""
    path = " -> ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
    if error.errno is None or not path:
        return str(error)
    return (
        f"{path}: {_REMEDIES.get(error.errno, error.strerror or str(error))} ([Errno {error.errno}] {error.strerror})"
    )


def _stopped(message: str, code: int, as_json: bool) -> NoReturn:
    _leave(message, message, code, as_json)


def _fail(message: str, code: int, as_json: bool) -> NoReturn:
    _leave(message, f"error: {message}", code, as_json)


def _leave(message: str, line: str, code: int, as_json: bool) -> NoReturn:
    if as_json:
        print(json.dumps({"error": message, "exit_code": code}), flush=True)
    else:
        print(line, file=sys.stderr)
    raise typer.Exit(code)
