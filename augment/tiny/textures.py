"""Backgrounds for the autoencoder only: patterns in any colours, which no caption names.

An autoencoder that has seen eight kinds of background learns those eight; patterns make it carry what is there.
"""

from __future__ import annotations

import numpy as np

from augment.tiny.backgrounds import SIZE, Painter

_Y, _X = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)


def _two_colours(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return two colours in 0..1 that differ, but not always by much."""
    first = rng.uniform(0, 1, 3)
    other = np.clip(first + rng.uniform(-1, 1, 3) * rng.uniform(0.15, 1.0), 0, 1)
    return first.astype(np.float32), other.astype(np.float32)


def _blend(rng: np.random.Generator, amount: np.ndarray) -> np.ndarray:
    first, other = _two_colours(rng)
    amount = np.clip(amount, 0, 1)[..., None]
    return (first * (1 - amount) + other * amount).astype(np.float32)


def _turned(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    angle, dx, dy = rng.uniform(0, np.pi), rng.uniform(0, SIZE), rng.uniform(0, SIZE)
    cos, sin = np.cos(angle), np.sin(angle)
    return cos * (_X + dx) + sin * (_Y + dy), -sin * (_X + dx) + cos * (_Y + dy)


def gradient(rng: np.random.Generator) -> np.ndarray:
    """Paint a straight gradient of two colours."""
    along, _ = _turned(rng)
    return _blend(rng, (along - along.min()) / max(1.0, float(np.ptp(along))))


def stripes(rng: np.random.Generator) -> np.ndarray:
    """Paint parallel stripes with soft or hard edges."""
    along, _ = _turned(rng)
    return _blend(rng, 0.5 + rng.uniform(0.5, 3) * np.sin(2 * np.pi * along / rng.uniform(5, 24)))


def checks(rng: np.random.Generator) -> np.ndarray:
    """Paint a chequered pattern, turned."""
    along, across = _turned(rng)
    period = rng.uniform(8, 28)
    product = np.sin(2 * np.pi * along / period) * np.sin(2 * np.pi * across / (period * rng.uniform(0.6, 1.4)))
    return _blend(rng, 0.5 + 3 * product)


def dots(rng: np.random.Generator) -> np.ndarray:
    """Paint a lattice of discs, turned."""
    along, across = _turned(rng)
    period = rng.uniform(8, 20)
    u, v = along % period - period / 2, across % period - period / 2
    return _blend(rng, rng.uniform(0.2, 0.42) * period + 0.5 - np.sqrt(u**2 + v**2))


def rings(rng: np.random.Generator) -> np.ndarray:
    """Paint rings about a point."""
    radius = np.sqrt((_X - rng.uniform(0, SIZE)) ** 2 + (_Y - rng.uniform(0, SIZE)) ** 2)
    return _blend(rng, 0.5 + rng.uniform(0.5, 3) * np.sin(2 * np.pi * radius / rng.uniform(6, 24)))


def cells(rng: np.random.Generator) -> np.ndarray:
    """Paint the cells of some random points, each in a colour of its own."""
    count = int(rng.integers(6, 28))
    points, colours = rng.uniform(0, SIZE, (count, 2)), rng.uniform(0, 1, (count, 3)).astype(np.float32)
    distances = (_X[..., None] - points[:, 0]) ** 2 + (_Y[..., None] - points[:, 1]) ** 2
    return colours[distances.argmin(axis=-1)]


def clouds(rng: np.random.Generator) -> np.ndarray:
    """Paint noise with as much at every scale."""
    spectrum = np.fft.fft2(rng.normal(size=(SIZE, SIZE)))
    frequency = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.fftfreq(SIZE)[None])
    frequency[0, 0] = 1.0
    noise = np.fft.ifft2(spectrum / frequency ** rng.uniform(1.2, 2.2)).real
    return _blend(rng, 0.5 + 0.25 * (noise - noise.mean()) / noise.std())


TEXTURE_PAINTERS: dict[str, Painter] = {
    "gradient": gradient,
    "stripes": stripes,
    "checks": checks,
    "dots": dots,
    "rings": rings,
    "cells": cells,
    "clouds": clouds,
}
