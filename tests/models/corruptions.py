"""Model folders that are damaged in ways drawn from a seed: files cut, emptied, deleted, filled with something else."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 3438167534\n"
WRONG = [None, -1, 0, 3.5, 10**12, "", "text", [], [None], {}, True, [1, "a"], {"a": None}]


def corrupt(folder: Path, seed: int) -> str:
    """Damage one file of a folder, and return which and how."""
    draw = random.Random(seed)
    path = draw.choice(sorted(p for p in folder.rglob("*") if p.is_file()))
    ways = [_cut, _empty, _delete, _pointer, _flip, _folder]
    ways += {".json": [_json] * 8, ".safetensors": [_tensors] * 8}.get(path.suffix, [])
    way = draw.choice(ways)
    return f"{path.relative_to(folder)}: {way(path, draw) or way.__name__}"


def _cut(path: Path, draw: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: draw.randrange(len(data))])


def _empty(path: Path, draw: random.Random) -> None:
    path.write_bytes(b"")


def _delete(path: Path, draw: random.Random) -> None:
    path.unlink()


def _pointer(path: Path, draw: random.Random) -> None:
    path.write_text(POINTER)


def _flip(path: Path, draw: random.Random) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(20):
        data[draw.randrange(min(len(data), 2000))] = draw.randrange(256)
    path.write_bytes(bytes(data))


def _folder(path: Path, draw: random.Random) -> None:
    path.unlink()
    path.mkdir()


def _json(path: Path, draw: random.Random) -> str:
    """Replace, remove or rename one value, however deep."""
    content = json.loads(path.read_text())
    places = list(_places(content))
    if not places:
        shutil.copy(path, path.with_suffix(".bak"))
        path.write_text("[]")
        return "a list"
    holder, key = draw.choice(places)
    if isinstance(holder, dict) and draw.random() < 0.2:
        value = holder.pop(key)
        if draw.random() < 0.5:
            holder[f"{key}_"] = value
        how = f"{key} removed or renamed"
    else:
        holder[key] = draw.choice(WRONG)
        how = f"{key} = {holder[key]!r}"
    path.write_text(json.dumps(content))
    return how


def _places(content: Any) -> Any:
    """Yield (holder, key) of every value; of long lists and tables the first few."""
    items = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in list(items)[:40]:
        yield content, key
        if isinstance(value, dict | list):
            yield from _places(value)


def _tensors(path: Path, draw: random.Random) -> str:
    """Drop, rename, add, reshape or retype a tensor."""
    tensors = load_file(path)
    name = draw.choice(sorted(tensors))
    how = draw.choice(["dropped", "renamed", "added", "reshaped", "int64", "float16", "int8"])
    if how == "dropped":
        del tensors[name]
    elif how == "renamed":
        tensors[f"{name}_"] = tensors.pop(name)
    elif how == "added":
        tensors["another.weight"] = torch.zeros(3)
    elif how == "reshaped":
        tensors[name] = torch.zeros(*tensors[name].shape, 2)
    else:
        tensors[name] = tensors[name].to(getattr(torch, how))
    save_file(tensors, path, metadata={"format": "pt"})
    return f"{name} {how}"
