"""An operating system's error says which file it is about, though a write that fails knows no name."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from augment.cli.output import messages
from augment.storage.tar import naming

LIMITED = """
import resource, sys
from augment.storage.local_store import LocalStore
from augment.storage.tar import write_tar
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))  # larger ones fail while they are written
store, data = LocalStore(sys.argv[1]), bytes(5000)
writes = {"write": lambda: store.write("a/write", data), "append": lambda: store.append("append", data)}
writes["tar"] = lambda: write_tar(store.root / "tar", [("key", {"png": data})])
for name, write in writes.items():
    try:
        write()
    except OSError as error:
        print(name, error.filename)
"""


def test_a_file_that_cannot_be_written_whole_is_named(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LIMITED, str(tmp_path)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    assert dict(line.split() for line in done.stdout.splitlines()) == {
        "write": f"{tmp_path}/a/write",
        "append": f"{tmp_path}/append",
        "tar": f"{tmp_path}/tar",
    }


def test_an_error_that_names_a_file_keeps_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, naming(tmp_path):
        (tmp_path / "absent").read_bytes()
    assert caught.value.filename == str(tmp_path / "absent")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            OSError(errno.ENOSPC, "No space left", "out/parts/u0"),
            "error: out/parts/u0: no space is left there. Make room",
        ),
        (OSError(errno.EROFS, "Read-only", "out"), "error: out: the file system there is read-only. Name a folder"),
        (OSError(errno.EIO, "Input/output error", "a", None, "b"), "error: a -> b: Input/output error ([Errno 5]"),
        (OSError("503 Slow Down"), "error: 503 Slow Down"),
    ],
)
def test_the_command_line_says_where_and_what_next(
    error: OSError, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as caught, messages():
        raise error
    assert caught.value.exit_code == 2
    assert capsys.readouterr().err.startswith(message)
