"""ICC profiles made here, tag by tag, so that what they mean is known without trusting a colour library."""

from __future__ import annotations

import struct

import numpy as np

WHITE = (0.9642, 1.0, 0.8249)  # D50, which every profile is relative to
# Columns of red, green and blue in XYZ under D50.
P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def rgb_profile(primaries: tuple[tuple[float, float, float], ...]) -> bytes:
    """A display with these primaries and the curve of sRGB."""
    names = (b"rXYZ", b"gXYZ", b"bXYZ")
    curve = b"para" + bytes(4) + struct.pack(">HH", 3, 0) + b"".join(map(_fixed, _SRGB_CURVE))
    tags = {name: _xyz(*column) for name, column in zip(names, primaries, strict=True)}
    return _profile(b"RGB ", tags | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve))


def grey_profile(gamma: float) -> bytes:
    """Grey whose light is the value to the power of gamma."""
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    return _profile(b"GRAY", {b"kTRC": curve})


def cmyk_profile() -> bytes:
    """A press on which any ink of a kind is black and no ink is white, in a table of two points per ink."""
    steps = bytes(range(256))
    corners = [bytes([255, 128, 128]) if not any(ink) else bytes([0, 128, 128]) for ink in np.ndindex(2, 2, 2, 2)]
    identity = b"".join(_fixed(float(i == j)) for i in range(3) for j in range(3))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity + steps * 4 + b"".join(corners) + steps * 3
    return _profile(b"CMYK", {b"A2B0": table}, kind=b"prtr", space_of_connection=b"Lab ")


def p3_to_srgb(colour: tuple[int, int, int]) -> np.ndarray:
    """What a colour of Display P3 is in sRGB, by the definitions of both; float, of 255."""
    value = np.array(colour) / 255
    light = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    light = np.linalg.solve(np.array(SRGB).T, np.array(P3).T @ light).clip(0, 1)
    return 255 * np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def _profile(
    space: bytes, tags: dict[bytes, bytes], kind: bytes = b"mntr", space_of_connection: bytes = b"XYZ "
) -> bytes:
    tags = {b"desc": _description(b"test"), b"cprt": b"text" + bytes(8), b"wtpt": _xyz(*WHITE)} | tags
    table, content, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(content), len(data))
        content += data + bytes(-len(data) % 4)
    names = (kind, space, space_of_connection, b"acsp")
    names = (kind, space, space_of_connection, b"acsp")
    names = (kind, space, space_of_connection, b"acsp")
    header = struct.pack(">I4xI4s4s4s12x4s", start + len(content), 0x02400000, *names)
    header = header.ljust(68, b"\0") + b"".join(map(_fixed, WHITE))
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + content


def _description(text: bytes) -> bytes:
    return b"desc" + bytes(4) + struct.pack(">I", len(text) + 1) + text + bytes(1 + 4 + 4 + 2 + 1 + 67)


def _xyz(x: float, y: float, z: float) -> bytes:
    return b"XYZ " + bytes(4) + _fixed(x) + _fixed(y) + _fixed(z)


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))
