"""Files of a manifest that are not there: all of them counted, with the reason that a second look can find."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest

from augment.inputs import absent
from augment.inputs.absent import Absent, absent_files
from augment.inputs.readers import list_sources

NAMES = [f"photos/{name}/{i}.png" for name in ("fox", "caf\u00e9 owl") for i in range(4)]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in NAMES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


def found(root: Path, rows: list[str], manifest: str = "rows.csv") -> Absent:
    path = root / manifest
    path.parent.mkdir(exist_ok=True)
    path.write_text("path,label\n" + "".join(f'"{row}",fox\n' for row in rows))
    return absent_files(list_sources(path, "manifest").sources, str(path))


def test_nothing_is_absent(root: Path) -> None:
    assert found(root, NAMES) == Absent(0, 8, 8)


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        (lambda name: name.replace("/", "\\"), "it has backslashes, as on Windows. Write the paths with slashes"),
        (lambda name: "C:\\data\\" + name.replace("/", "\\"), "it has backslashes, as on Windows, and {root}/photos/"),
        (lambda name: name.replace("/", "/ "), "it has a space too many. Remove spaces around names"),
        (lambda name: name + " ", "it has a space too many"),
        (lambda name: name.replace("fox", "f%6Fx").replace(" ", "%20"), "it is percent-encoded"),
        (lambda name: f"/somewhere/else/{name}", "{root}/photos/"),
        (lambda name: f"../{name}", "{root}/photos/"),
        (lambda name: f"data/{name}", "{root}/photos/"),
        (lambda name: name.replace("png", "PNG"), "{root}/photos/"),
        (lambda name: name.replace("png", "jpg"), "{root}/photos/"),
        (lambda name: f"$ROOT/{name}", "~ and variables mean nothing in rows. Write the paths out"),
        (lambda name: f"gone/{name.rpartition('/')[2]}", "does not exist (the nearest folder that does is {root})"),
    ],
)
def test_the_reason_of_absence(
    root: Path, monkeypatch: pytest.MonkeyPatch, written: Callable[[str], str], reason: str
) -> None:
    monkeypatch.setenv("ROOT", str(root))
    result = found(root, [written(name) for name in NAMES if "fox" in name])
    assert (result.count, result.looked_at, result.total) == (4, 4, 4)
    assert reason.format(root=root) in result.reason
    assert str(result).startswith("4 of 4 files are not there, the first is ")


def test_a_manifest_beside_the_wrong_folder(root: Path) -> None:
    result = found(root, [name for name in NAMES if "fox" in name], "lists/rows.csv")
    assert f"{root}/photos/fox/0.png is there: relative paths are taken from the manifest's own folder" in result.reason
    inside = found(root, [name for name in NAMES if "fox" in name], "photos/rows.csv")
    assert f"{root}/photos/fox/0.png is there" in inside.reason


def test_letters_composed_in_another_way(root: Path) -> None:
    result = found(root, [unicodedata.normalize("NFD", name) for name in NAMES])
    assert result.count == 4 and "Unicode" in result.reason


def test_some_are_absent(root: Path) -> None:
    (root / NAMES[2]).unlink()
    result = found(root, NAMES)
    assert (result.count, result.looked_at, result.first) == (1, 8, f"{root}/{NAMES[2]}")


def test_a_store_is_asked_for_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(absent, "REMOTE_LOOKED_AT", 10)
    fs = fsspec.filesystem("memory")
    rows = [f"fox/{i:02} a.png" for i in range(40)]
    fs.pipe({f"/absent/{row}": b"x" for row in rows})

    def look(change: Callable[[str], str]) -> Absent:
        text = "path,label\n" + "".join(f"{change(row)},fox\n" for row in rows)
        fs.pipe("/absent/rows.csv", text.encode())
        listed = list_sources("memory://absent/rows.csv", "manifest").sources
        return absent_files(listed, "memory://absent/rows.csv")

    assert look(lambda row: row) == Absent(0, 10, 40)
    result = look(lambda row: row.replace(" ", "%20"))
    assert str(result) == (
        "10 of 10 files looked at (of 40) are not there, the first is memory://absent/fox/00%20a.png: "
        "it is percent-encoded. Write the paths as the files are called"
    )
    assert look(lambda row: f"x/{row}").reason.startswith("relative paths are taken from the manifest's own folder")
    fs.rm("/absent", recursive=True)


def test_a_store_that_cannot_be_asked_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("path,label\nnonsense://bucket/a.png,fox\n")
    sources = list_sources(tmp_path / "rows.csv", "manifest").sources
    assert absent_files(sources, str(tmp_path)) == Absent(0, 1, 1)
