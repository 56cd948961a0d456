"""Datasets that are damaged or odd in ways drawn from a seed: pictures, tars, tables, names, links, folders."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import os
import random
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
from PIL import Image

from augment.storage.tar import write_tar
from tests.inputs.profiles import P3, cmyk_profile, grey_profile, rgb_profile
from tests.malformed import NOISE, encoded, malformed

KINDS = ("imagefolder", "flat", "webdataset", "csv", "jsonl", "parquet")
CLASSES = ("eel", "fox", "owl")
WRITTEN = (
    "PNG",
    "JPEG",
    "WEBP",
    "AVIF",
    "JPEG2000",
    "TIFF",
    "GIF",
    "BMP",
    "PPM",
    "TGA",
    "ICO",
    "DDS",
    "QOI",
    "SGI",
    "PCX",
)
WORDS = [
    "",
    " ",
    "nan",
    "-1",
    "1_0",
    "1.5",
    "\u0661",
    "fox",
    "\0",
    "../..",
    "~",
    "$X",
    "a\\b",
    "%41",
    "{0..9}",
    "\udcff",
]
WORDS += ["x" * 5000]
_SMALL = NOISE.resize((24, 16))
_MALFORMED = malformed()


def make(root: Path, kind: str) -> Path:
    """A sound dataset of six pictures of that kind; what `input.path` is."""
    pictures = [(f"{name}/{i}", encoded(_SMALL, "PNG"), label) for label, name in enumerate(CLASSES) for i in range(2)]
    if kind == "webdataset":
        samples = ((key, {"png": data, "cls": b"%d" % label, "txt": b"words"}) for key, data, label in pictures)
        write_tar(root / "data/0.tar", samples)
        return root / "data"
    for key, data, _ in pictures:
        (root / "data" / key).parent.mkdir(parents=True, exist_ok=True)
        (root / f"data/{key}.png").write_bytes(data)
    if kind in ("imagefolder", "flat"):
        return root / "data"
    rows = [{"path": f"{key}.png", "label": CLASSES[label]} for key, _, label in pictures]
    path = root / "data" / f"rows.{kind}"
    _write_rows(path, rows)
    return path


def corrupt(path: Path, kind: str, seed: int) -> str:
    """Damage a dataset that `make` has made, and return how."""
    draw = random.Random(seed)
    ways: list[Callable[[Path, random.Random], str | None]] = []
    if kind in ("imagefolder", "flat"):
        ways = [_picture, _picture, _picture, _format, _format, _profile, _names, _links, _flip, _cut, _folder, _empty]
    elif kind == "webdataset":
        ways = [_members, _members, _members, _flip, _flip, _cut, _pack, _order, _picture_in_tar, _folder, _empty]
    else:
        ways = [_cells, _cells, _cells, _table, _flip, _cut, _empty, _picture, _links, _columns]
    way = draw.choice(ways)
    return f"{way.__name__}: {way(path, draw) or ''}"


def _files(path: Path) -> list[Path]:
    root = path if path.is_dir() else path.parent
    return sorted(p for p in root.rglob("*") if p.is_file())


def _target(path: Path, draw: random.Random) -> Path:
    """The manifest or tar, or one of the pictures."""
    return path if path.is_file() else draw.choice(_files(path))


def _pictures(path: Path, draw: random.Random) -> Path:
    return draw.choice([p for p in _files(path) if p.suffix == ".png"])


def _cut(path: Path, draw: random.Random) -> None:
    file = _target(path, draw)
    data = file.read_bytes()
    file.write_bytes(data[: draw.randrange(len(data))])


def _flip(path: Path, draw: random.Random) -> None:
    file = _target(path, draw)
    data = bytearray(file.read_bytes())
    for _ in range(draw.choice([1, 5, 50])):
        data[draw.randrange(len(data))] = draw.randrange(256)
    file.write_bytes(bytes(data))


def _empty(path: Path, draw: random.Random) -> None:
    _target(path, draw).write_bytes(b"")


def _folder(path: Path, draw: random.Random) -> None:
    file = draw.choice(_files(path))
    file.unlink()
    file.mkdir()


def _picture(path: Path, draw: random.Random) -> str:
    bad = draw.choice(_MALFORMED)
    _pictures(path, draw).write_bytes(bad.data)
    return bad.name


def _bytes_of_a_format(draw: random.Random) -> tuple[str, bytes]:
    """A file of some format, damaged or not."""
    kind = draw.choice(WRITTEN)
    mode = draw.choice(["RGB", "L", "P", "RGBA", "1", "CMYK", "I;16"])
    picture = Image.new("I;16", (24, 16), draw.randrange(65536)) if mode == "I;16" else _SMALL.convert(mode)
    try:
        data = bytearray(encoded(picture, kind))
    except (OSError, ValueError, KeyError):  # the format does not have this mode
        data = bytearray(encoded(_SMALL, kind))
    for _ in range(draw.choice([0, 1, 10, 100])):
        data[draw.randrange(len(data))] = draw.randrange(256)
    return f"{kind} {mode}", bytes(data[: draw.choice([len(data), draw.randrange(1, len(data))])])


def _format(path: Path, draw: random.Random) -> str:
    name, data = _bytes_of_a_format(draw)
    file = _pictures(path, draw)
    file.write_bytes(data)
    file.rename(file.with_suffix(draw.choice([".png", "", ".dat", ".heic", ".jpg", ".tga"])))
    return name


def _profile(path: Path, draw: random.Random) -> str:
    profile = bytearray(draw.choice([rgb_profile(P3), cmyk_profile(), grey_profile(1.8)]))
    for _ in range(draw.choice([0, 3, 60])):
        profile[draw.randrange(len(profile))] = draw.randrange(256)
    mode = draw.choice(["RGB", "CMYK", "L"])
    picture = _SMALL.convert(mode)
    _pictures(path, draw).write_bytes(encoded(picture, "TIFF", icc_profile=bytes(profile)))
    return mode


def _names(path: Path, draw: random.Random) -> str:
    """Give a picture or a class another name."""
    chosen = draw.choice([p for p in path.rglob("*") if p != path])
    name = draw.choice(
        [w for w in WORDS if w and "\0" not in w and "/" not in w and len(w) < 200] + [".x", "a\nb", "CON"]
    )
    target = os.fsencode(chosen.parent) + b"/" + name.encode(errors="surrogateescape")
    if not os.path.lexists(target):
        os.rename(chosen, target)
    return repr(name)


def _links(path: Path, draw: random.Random) -> str:
    file = _pictures(path, draw)
    target = draw.choice(
        [file.parent, file.parent.parent, Path("/nowhere"), file, Path("/dev/null"), Path("/dev/zero")]
    )
    if draw.random() < 0.5:
        (file.parent / "link").symlink_to(target)
    else:
        file.unlink()
        file.symlink_to(target)
    return str(target)


def _pack(path: Path, draw: random.Random) -> None:
    file = _target(path, draw)
    file.write_bytes(draw.choice([gzip.compress, bz2.compress])(file.read_bytes()))


def _repack(path: Path, change: Callable[[list[tuple[str, bytes]]], None]) -> None:
    (file,) = _files(path)
    with tarfile.open(file) as tar:
        members = [(m.name, tar.extractfile(m).read()) for m in tar]  # type: ignore[union-attr]
    change(members)
    with tarfile.open(file, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def _order(path: Path, draw: random.Random) -> None:
    _repack(path, draw.shuffle)


def _picture_in_tar(path: Path, draw: random.Random) -> str:
    name, data = _bytes_of_a_format(draw)

    def change(members: list[tuple[str, bytes]]) -> None:
        members[1] = (members[1][0], data)

    _repack(path, change)
    return name


def _members(path: Path, draw: random.Random) -> str:
    """Rename, remove, repeat or fill a member with a word."""
    word, how = draw.choice([w for w in WORDS if w != "\udcff"]), draw.randrange(4)

    def change(members: list[tuple[str, bytes]]) -> None:
        at = draw.randrange(len(members))
        name, data = members[at]
        if how == 0:
            members[at] = (word.replace("\x00", "0")[:90] or "_", data)
        elif how == 1:
            del members[at]
        elif how == 2:
            members.append((name, data))
        else:
            members[at] = (name, word.encode())

    _repack(path, change)
    return f"{how} {word[:20]!r}"


def _rows(path: Path) -> list[dict[str, object]]:
    return [{"path": str(p.relative_to(path.parent)), "label": p.parent.name} for p in _files(path) if p != path]


def _write_rows(path: Path, rows: list[dict[str, object]]) -> None:
    if path.suffix == ".csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        path.write_bytes(text.getvalue().encode(errors="surrogateescape"))
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        columns = {name: [None if row[name] == "\udcff" else row[name] for row in rows] for name in rows[0]}
        try:
            table = pa.table(columns)
        except (pa.ArrowInvalid, pa.ArrowTypeError):  # several types in one column
            table = pa.table({name: [str(value) for value in values] for name, values in columns.items()})
        pyarrow.parquet.write_table(table, path)


def _cells(path: Path, draw: random.Random) -> str:
    """Put something odd into one or all cells of a column."""
    rows = _rows(path)
    column = draw.choice(["path", "label", "prompt", "split", "id", "size"])
    values: list[object] = [*WORDS, 7, -1, 1.5, True, None, 10**30 if path.suffix == ".jsonl" else 10**18, ["a"]]
    value = draw.choice(values)
    for row in rows:
        row.setdefault(column, "")
    for row in rows if draw.random() < 0.4 else [draw.choice(rows)]:
        row[column] = value
    _write_rows(path, rows)
    return f"{column} {str(value)[:20]!r}"


def _columns(path: Path, draw: random.Random) -> str:
    old, new = draw.choice(["path", "label"]), draw.choice(["", "Path", "lable", "filename", "path", "label", " x"])
    _write_rows(path, [{new if name == old else name: value for name, value in row.items()} for row in _rows(path)])
    return f"{old} is {new!r}"


def _table(path: Path, draw: random.Random) -> None:
    """Something else entirely under the name of the manifest."""
    path.write_bytes(
        draw.choice([b"", b"\0" * 64, b"PK\x03\x04", b"{}\n", b"[1]", encoded(_SMALL, "PNG"), b"path,label\n"])
    )
