"""The eight procedural backgrounds of emoji world, each a function of a random generator.

A painter returns float32 [64, 64, 3] in 0..1. Textures are smooth on purpose: at 64x64 pixels, per-pixel noise would
only measure how many bits the autoencoder has.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

SIZE = 64
_Y, _X = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)

Painter = Callable[[np.random.Generator], np.ndarray]


def soft_disc(x: float, y: float, radius: float) -> np.ndarray:
    """Return the coverage of a disc with a one-pixel soft edge, [64, 64, 1] in 0..1."""
    distance = np.sqrt((_X - x) ** 2 + (_Y - y) ** 2)
    return np.clip(radius + 0.5 - distance, 0.0, 1.0)[..., None]


def _colour(rng: np.random.Generator, red: float, green: float, blue: float, spread: float = 0.03) -> np.ndarray:
    return np.clip(np.array([red, green, blue], np.float32) + rng.uniform(-spread, spread, 3).astype(np.float32), 0, 1)


def _smooth_noise(rng: np.random.Generator, cells: int) -> np.ndarray:
    """Return low-frequency noise in about -1..1, [64, 64, 1]."""
    grid = Image.fromarray(rng.uniform(-1, 1, (cells, cells)).astype(np.float32))
    return np.asarray(grid.resize((SIZE, SIZE), Image.Resampling.BICUBIC))[..., None]


def _gradient(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    t = (_Y / (SIZE - 1))[..., None]
    return top * (1 - t) + bottom * t


def _below(height: np.ndarray | float) -> np.ndarray:
    """Return the coverage, [64, 64, 1], of what lies below a horizon given per column, with a one-pixel soft edge."""
    return np.clip(_Y - height + 0.5, 0.0, 1.0)[..., None]


def _mix(under: np.ndarray, over: np.ndarray, coverage: np.ndarray) -> np.ndarray:
    return under * (1 - coverage) + over * coverage


def _hills(rng: np.random.Generator, level: float, amplitude: float) -> np.ndarray:
    phase, wavelength = rng.uniform(0, 2 * np.pi), rng.uniform(40, 80)
    return level + amplitude * np.sin(2 * np.pi * _X / wavelength + phase)


def meadow(rng: np.random.Generator) -> np.ndarray:
    """Paint a green hill under a blue sky."""
    sky = _gradient(_colour(rng, 0.45, 0.72, 0.95), _colour(rng, 0.78, 0.90, 0.98))
    grass = _gradient(_colour(rng, 0.50, 0.80, 0.30), _colour(rng, 0.22, 0.58, 0.18)) + 0.05 * _smooth_noise(rng, 9)
    return _mix(sky, grass, _below(_hills(rng, rng.uniform(22, 32), rng.uniform(1, 3)))).astype(np.float32)


def snow(rng: np.random.Generator) -> np.ndarray:
    """Paint two white hills under a pale sky."""
    sky = _gradient(_colour(rng, 0.62, 0.76, 0.88), _colour(rng, 0.82, 0.90, 0.96))
    far = _colour(rng, 0.84, 0.90, 0.97)
    near = _gradient(_colour(rng, 0.98, 0.98, 0.99, 0.01), _colour(rng, 0.90, 0.94, 0.99, 0.01))
    image = _mix(sky, far + 0.02 * _smooth_noise(rng, 6), _below(_hills(rng, rng.uniform(20, 27), 2.5)))
    return _mix(image, near + 0.02 * _smooth_noise(rng, 6), _below(_hills(rng, rng.uniform(33, 40), 3))).astype(
        np.float32
    )


def desert(rng: np.random.Generator) -> np.ndarray:
    """Paint two dunes under an orange sky."""
    sky = _gradient(_colour(rng, 0.98, 0.80, 0.55), _colour(rng, 0.99, 0.92, 0.75))
    far, near = _colour(rng, 0.90, 0.66, 0.36), _colour(rng, 0.95, 0.76, 0.42)
    image = _mix(sky, far + 0.03 * _smooth_noise(rng, 7), _below(_hills(rng, rng.uniform(20, 28), 4)))
    return _mix(image, near + 0.03 * _smooth_noise(rng, 7), _below(_hills(rng, rng.uniform(34, 42), 4))).astype(
        np.float32
    )


def ocean(rng: np.random.Generator) -> np.ndarray:
    """Paint waves up to the horizon."""
    sky = _gradient(_colour(rng, 0.66, 0.86, 0.96), _colour(rng, 0.88, 0.95, 0.97))
    water = _gradient(_colour(rng, 0.12, 0.48, 0.76), _colour(rng, 0.04, 0.26, 0.55))
    waves = np.sin(2 * np.pi * _Y / rng.uniform(6.5, 8.5) + 0.8 * np.sin(2 * np.pi * _X / 32 + rng.uniform(0, 6.28)))
    return _mix(sky, water + 0.06 * waves[..., None], _below(rng.uniform(16, 24))).astype(np.float32)


def forest(rng: np.random.Generator) -> np.ndarray:
    """Paint six trunks in front of dark green."""
    image = _gradient(_colour(rng, 0.10, 0.34, 0.16), _colour(rng, 0.16, 0.26, 0.10)) + 0.05 * _smooth_noise(rng, 8)
    spacing, offset = rng.uniform(13, 17), rng.uniform(0, 15)
    bark = _colour(rng, 0.36, 0.23, 0.13)
    for i in range(6):
        centre = offset + (i - 1) * spacing + rng.uniform(-2, 2)
        trunk = np.clip(rng.uniform(1.8, 2.8) + 0.5 - np.abs(_X - centre), 0, 1)[..., None]
        image = _mix(image, bark, trunk * (1 - _below(52)))
    return _mix(image, _colour(rng, 0.20, 0.24, 0.08), _below(52)).astype(np.float32)


def city(rng: np.random.Generator) -> np.ndarray:
    """Paint houses with lit windows along a street."""
    image = _gradient(_colour(rng, 0.72, 0.76, 0.82), _colour(rng, 0.86, 0.86, 0.86))
    left = -rng.uniform(0, 8)
    while left < SIZE:
        width, top = rng.uniform(12, 18), rng.uniform(6, 22)
        wall = np.float32(rng.uniform(0.38, 0.58)) * np.array([1.0, 0.98, 1.04], np.float32)
        inside = ((left <= _X) & (left + width - 1 > _X))[..., None] * _below(top)
        image = _mix(image, wall, inside)
        lit = ((_X - left) % 5 >= 2) & ((_X - left) % 5 < 4) & ((_Y - top) % 7 >= 3) & ((_Y - top) % 7 < 5.5)
        image = _mix(image, np.array([0.93, 0.87, 0.60], np.float32), lit[..., None] * inside * 0.8)
        left += width
    return _mix(image, _colour(rng, 0.26, 0.26, 0.29), _below(50)).astype(np.float32)


def mountains(rng: np.random.Generator) -> np.ndarray:
    """Paint three peaks with caps of snow."""
    image = _gradient(_colour(rng, 0.86, 0.70, 0.84), _colour(rng, 0.98, 0.88, 0.86))
    for _ in range(3):
        peak_x, peak_y, slope = rng.uniform(0, SIZE), rng.uniform(6, 18), rng.uniform(0.9, 1.4)
        ridge = peak_y + slope * np.abs(_X - peak_x)
        image = _mix(image, _colour(rng, 0.44, 0.36, 0.56), _below(ridge))
        cap = np.clip(peak_y + 7 - _Y, 0, 1)[..., None] * _below(ridge)
        image = _mix(image, np.array([0.96, 0.96, 0.99], np.float32), cap)
    return _mix(image, _colour(rng, 0.34, 0.30, 0.40), _below(_hills(rng, 48, 2))).astype(np.float32)


def wall(rng: np.random.Generator) -> np.ndarray:
    """Paint a brick wall and the ground before it."""
    height, width = 8.0, 16.0
    dx, dy = rng.uniform(0, width), rng.uniform(0, height)
    row = np.floor((_Y + dy) / height)
    along = (_X + dx + (row % 2) * width / 2) % width
    mortar = ((along < 1.5) | ((_Y + dy) % height < 1.5))[..., None].astype(np.float32)
    brick = _colour(rng, 0.70, 0.30, 0.22) + 0.04 * _smooth_noise(rng, 8)
    image = _mix(brick, _colour(rng, 0.82, 0.76, 0.70), mortar)
    return _mix(image, _colour(rng, 0.55, 0.52, 0.50), _below(54)).astype(np.float32)


BACKGROUND_PAINTERS: dict[str, Painter] = {
    "meadow": meadow,
    "snow": snow,
    "desert": desert,
    "ocean": ocean,
    "forest": forest,
    "city": city,
    "mountains": mountains,
    "wall": wall,
}
