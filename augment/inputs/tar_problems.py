"""Why a tar cannot be used, in words, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence

# First bytes of what may lie under the name of a tar -> what it is, and the command that unpacks it.
_PACKED = {
    b"\x1f\x8b": ("gzip", "gunzip -c"),
    b"BZh": ("bzip2", "bunzip2 -c"),
    b"\xfd7zXZ\0": ("xz", "xz -dc"),
    b"\x28\xb5\x2f\xfd": ("zstd", "zstd -dc"),
}
_EXTENSIONS = {".gz": "gunzip -c", ".tgz": "gunzip -c", ".bz2": "bunzip2 -c", ".xz": "xz -dc", ".zst": "zstd -dc"}
_WHY = "images are read one by one at random places, which a compressed tar does not allow"
_PACK = "tar --sort=name -cf NEW.tar -C FOLDER ."


def no_tar(shard: str, head: bytes) -> str:
    """Return what lies under the name of a tar, by its first bytes; "" if it may be one."""
    if not head:
        return f"{shard} has zero bytes; copy or download it again"
    for magic, (name, command) in _PACKED.items():
        if head.startswith(magic):
            return (
                f"{shard} is compressed with {name}, whatever its name says: {_WHY}. Unpack it: "
                f"{command} {shard} > PLAIN.tar"
            )
    if head.startswith(b"PK\x03\x04"):
        return f"{shard} is a zip archive under the name of a tar. Unpack it with unzip, and pack it with {_PACK}"
    if head.startswith(b"version https://git-lfs"):
        return f"{shard} is a pointer of Git LFS, not the file itself: fetch it with git lfs pull"
    if head.lstrip().lower().startswith((b"<!doctype html", b"<html", b"<?xml")):
        return f"{shard} is a page of a web server under the name of a tar, likely an error; download it again"
    return ""


def how_to_unpack(path: str) -> str:
    """Return how to unpack a file that is compressed by its name, to go on a message; or what else to do with it."""
    for extension, command in _EXTENSIONS.items():
        if path.endswith(extension):
            plain = path.removesuffix(extension).removesuffix(".tar") + ".tar"
            return f": {_WHY}. Unpack it: {command} {path} > {plain}"
    return "; if it is one, rename it"


def apart(shard: str, key: str, names: Sequence[str]) -> str:
    """Return the message about a sample whose files do not lie next to each other in the tar.

    Args:
        names: of its members, in the order of the tar.
    """
    return (
        f"{shard}: sample {key!r}: its files {', '.join(names[:6])} are not next to each other in the tar, so readers "
        f"of WebDataset tars take them for several samples. Unpack it and pack it in the order of names: {_PACK}"
    )
