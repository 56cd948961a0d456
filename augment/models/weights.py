"""Weight files as their headers describe them: whether a safetensors file is whole, and what it holds. No torch."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

POINTER = b"version https://git-lfs"  # how the text file begins that Git leaves where it did not fetch a large one
MAX_HEADER = 100_000_000  # bytes, of the format
SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
INTEGERS = frozenset({"I64", "I32", "I16", "I8", "U8", "BOOL"})

FETCH_POINTER = "is a Git LFS pointer, not the file: run `git lfs install && git lfs pull` in the model's folder"
FETCH_AGAIN = "download or copy it again"


class DamagedFileError(ValueError):
    """A file that cannot be read; the message says why and what to do, and goes after the file's name."""


@dataclass(frozen=True)
class WeightFiles:
    """Where the weights of one network lie.

    Attributes:
        variant: of the files' names, for example `fp16`; "" for none.
        index: the file that says which tensor lies in which shard; None for a single file.
        file: the single file; None if there is an index.
    """

    variant: str
    index: Path | None = None
    file: Path | None = None


def find_weights(folder: Path, base: str, variant: str) -> WeightFiles | None:
    """Return the safetensors weights of a network's folder, those without a variant where there are none of it.

    Args:
        folder: of the network.
        base: how the file is called, `diffusion_pytorch_model` or `model`.
        variant: wanted; "" for none.
    """
    for name in dict.fromkeys((variant, "")):
        dotted = f".{name}" if name else ""
        for index in (f"{base}.safetensors.index{dotted}.json", f"{base}{dotted}.safetensors.index.json"):
            if is_there(folder / index):
                return WeightFiles(name, index=folder / index)
        if is_there(folder / f"{base}{dotted}.safetensors"):
            return WeightFiles(name, file=folder / f"{base}{dotted}.safetensors")
    return None


def is_there(path: Path) -> bool:
    """Return whether a file of that name exists, be it a link to a file that does not."""
    return path.is_file() or path.is_symlink()


def read_json(path: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds.

    Raises:
        DamagedFileError: if it cannot be read, is no JSON, or holds something else.
    """
    data = read_small_file(path)
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        reason = "is cut off" if isinstance(error, json.JSONDecodeError) and error.pos >= len(data.strip()) else error
        raise DamagedFileError(f"is no JSON ({reason}): {FETCH_AGAIN}") from None
    if not isinstance(content, dict):
        raise DamagedFileError(f"holds {_kind(content)} where an object is expected: {FETCH_AGAIN}")
    return content


def weight_problems(weights: WeightFiles, folder: Path, *, quantized: bool = False) -> Iterator[str]:
    """Yield what is wrong with weight files, as far as their headers tell, a text `name: reason` each.

    Args:
        weights: the files.
        folder: of the network; files are named relative to its parent.
        quantized: whether the network's config says that its weights are quantised, and may be integers.
    """
    shards: Mapping[Path, set[str]] = {}
    try:
        if weights.index is not None:
            shards = _shards(weights.index)
        elif weights.file is not None:
            shards = {weights.file: set()}
    except DamagedFileError as error:
        yield f"{folder.name}/{(weights.index or folder).name} {error}"
    for path, expected in shards.items():
        name = f"{folder.name}/{path.name}"
        try:
            held = safetensors_dtypes(path)
        except DamagedFileError as error:
            yield f"{name} {error}"
            continue
        if lacking := sorted(expected - held.keys()):
            yield f"{name} lacks {listed(lacking)}, which the index says it holds: {FETCH_AGAIN}"
        integers = sorted(
            tensor for tensor, dtype in held.items() if dtype in INTEGERS and "position_ids" not in tensor
        )
        if integers and not quantized:
            yield (
                f"{name} holds integers for {listed(integers)}: quantised or damaged; take the weights in float32, "
                "float16 or bfloat16"
            )


def _shards(index: Path) -> dict[Path, set[str]]:
    """Return the names of the tensors in each shard."""
    found = read_json(index).get("weight_map")
    if not isinstance(found, dict) or not found or not all(isinstance(name, str) for name in found.values()):
        raise DamagedFileError(f"has no weight_map from tensors to files: {FETCH_AGAIN}")
    shards: dict[Path, set[str]] = {}
    for tensor, name in found.items():
        shards.setdefault(index.parent / name, set()).add(tensor)
    return shards


def safetensors_dtypes(path: Path) -> dict[str, str]:
    """Return tensor name -> data type of a safetensors file, whose length is checked. No tensor is read.

    Raises:
        DamagedFileError: if it cannot be read, is none, or is cut off.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(8)
            length = int.from_bytes(head, "little")
            if size == 0:
                raise DamagedFileError(f"is empty: {FETCH_AGAIN}")
            if (head + file.read(len(POINTER) - 8)) == POINTER:
                raise DamagedFileError(FETCH_POINTER)
            if size < 8 or length > MAX_HEADER:
                raise DamagedFileError(f"is no safetensors file: {FETCH_AGAIN}")
            if size < 8 + length:
                raise DamagedFileError(f"is cut off within its header, {size} bytes: {FETCH_AGAIN}")
            file.seek(8)
            header = file.read(length)
    except OSError as error:
        raise DamagedFileError(_unreadable(path, error)) from None
    try:
        tensors = json.loads(header)
        tensors.pop("__metadata__", None)
        ends = [_checked_end(name, **tensor) for name, tensor in tensors.items()]
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise DamagedFileError(f"has a damaged header: {FETCH_AGAIN}") from None
    whole = 8 + length + max(ends, default=0)
    if size != whole:
        what = "is cut off" if size < whole else "has bytes after its end"
        raise DamagedFileError(f"{what}: {size:,} bytes of {whole:,}; {FETCH_AGAIN}")
    return {name: str(tensor["dtype"]) for name, tensor in tensors.items()}


def _checked_end(name: str, *, dtype: str, shape: list[int], data_offsets: list[int]) -> int:
    """Return where a tensor's bytes end; raise ValueError if its shape does not fit them."""
    begin, end = data_offsets
    if not 0 <= begin <= end or (dtype in SIZES and math.prod(shape) * SIZES[dtype] != end - begin):
        raise ValueError(name)
    return end


def read_small_file(path: Path) -> bytes:
    """Return the bytes of a small file.

    Raises:
        DamagedFileError: if it cannot be read, is empty, or stands for a file that was not fetched.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DamagedFileError(_unreadable(path, error)) from None
    if not data.strip():
        raise DamagedFileError(f"is empty: {FETCH_AGAIN}")
    if data.startswith(POINTER):
        raise DamagedFileError(FETCH_POINTER)
    return data


def _unreadable(path: Path, error: OSError) -> str:
    if path.is_symlink() and not path.exists():
        return f"is a link to {path.readlink()}, which is not there: {FETCH_AGAIN}"
    if isinstance(error, FileNotFoundError):
        return f"is not there: {FETCH_AGAIN}"
    return f"cannot be read ({error.strerror or error})"


def _kind(value: object) -> str:
    return (
        "null" if value is None else {list: "a list", str: "a text", bool: "true or false"}.get(type(value), "a number")
    )


def listed(names: list[str], most: int = 3) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
