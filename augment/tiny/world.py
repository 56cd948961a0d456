"""Emoji world: a deterministic renderer of 64x64 scenes with an object, a background and a condition.

A `Scene` is plain data: everything random about a picture is drawn once in `sample_scene`, so `render(scene)` is a
function without hidden state and two machines with the same font file render the same bytes. The objects come from
the Noto Color Emoji font (SIL Open Font License); the backgrounds are drawn in `backgrounds.py` and `textures.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from augment.tiny.backgrounds import BACKGROUND_PAINTERS, soft_disc
from augment.tiny.glyphs import CLASSES, sprite
from augment.tiny.marks import Mark, marked_sprite
from augment.tiny.textures import TEXTURE_PAINTERS

IMAGE_SIZE = 64
LENS_BLUR = 0.7  # pixels
BACKGROUNDS: tuple[str, ...] = tuple(BACKGROUND_PAINTERS)
CONDITIONS: tuple[str, ...] = ("clear", "night", "fog", "snowfall")


@dataclass(frozen=True)
class Companion:
    """A second object of a scene, behind the first. Lengths are in pixels of the 64x64 image, the angle in degrees."""

    object: str
    x: float
    y: float
    size: float
    angle: float
    flip: bool


@dataclass(frozen=True)
class Scene:
    """One picture before it is drawn. Lengths are in pixels of the 64x64 image, the angle in degrees.

    Attributes:
        object: a class, or any other name in the list of glyphs (`glyphs.py`).
        background: one of `BACKGROUNDS`, or a texture that no caption names (`textures.py`).
        tint: what the object's red, green and blue are multiplied with; named by no caption, as the next two.
        mark: a small mark on the object.
        companion: a second object behind it.
    """

    object: str
    background: str
    condition: str
    x: float
    y: float
    size: float
    angle: float
    flip: bool
    texture_seed: int
    tint: tuple[float, float, float] | None = None
    mark: Mark | None = None
    companion: Companion | None = None


def sample_scene(
    rng: np.random.Generator,
    *,
    object: str | None = None,
    background: str | None = None,
    condition: str | None = None,
) -> Scene:
    """Draw a scene; whatever is not given is uniform over the world.

    Every random number is drawn whether or not its field is given, so fixing one attribute leaves the others alone.
    """
    drawn_object = CLASSES[int(rng.integers(len(CLASSES)))]
    drawn_background = BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))]
    drawn_condition = CONDITIONS[int(rng.integers(len(CONDITIONS)))]
    return Scene(
        object=object or drawn_object,
        background=background or drawn_background,
        condition=condition or drawn_condition,
        x=float(rng.uniform(23, 41)),
        y=float(rng.uniform(31, 43)),
        size=float(rng.uniform(30, 42)),
        angle=float(rng.uniform(-15, 15)),
        flip=bool(rng.random() < 0.5),
        texture_seed=int(rng.integers(2**31)),
    )


def object_mask(scene: Scene) -> np.ndarray:
    """Return how much of each pixel a scene's object covers, float32 [64, 64] in 0..1."""
    picture = marked_sprite(scene.object, scene.mark) if scene.mark else sprite(scene.object)
    return _place(scene, picture)[1][..., 0]


def companion_mask(scene: Scene) -> np.ndarray:
    """Return how much of each pixel the visible part of a scene's second object covers, as `object_mask` does."""
    if scene.companion is None:
        return np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.float32)
    return _place(scene.companion, sprite(scene.companion.object))[1][..., 0] * (1.0 - object_mask(scene))


def _place(scene: Scene | Companion, picture: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    """Return an object at its place: colour [64, 64, 3] in 0..1 and coverage [64, 64, 1] in 0..1."""
    if scene.flip:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    # Premultiplied, so that transparent black does not bleed into the edge when the picture is turned and scaled.
    pixels = np.asarray(picture, dtype=np.float32) / 255.0
    pixels[..., :3] *= pixels[..., 3:]
    # The emoji is larger than its place: a box filter brings it to the image's size, so that the cubic transform, which
    # reads single pixels, has little left to shrink and does not alias.
    planes = [
        Image.fromarray(pixels[..., channel]).resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BOX)
        for channel in range(4)
    ]
    # Pillow wants the way back, from a pixel of the image to one of the emoji: turn and scale about the two centres.
    scale, half = IMAGE_SIZE / scene.size, IMAGE_SIZE / 2
    radians = np.deg2rad(scene.angle)
    cos, sin = np.cos(radians) * scale, np.sin(radians) * scale
    matrix = (cos, sin, half - cos * scene.x - sin * scene.y, -sin, cos, half + sin * scene.x - cos * scene.y)
    planes = [p.transform(p.size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC) for p in planes]
    placed = np.clip(np.stack([np.asarray(p) for p in planes], axis=-1), 0.0, 1.0)
    alpha = placed[..., 3:]
    colour = np.where(alpha > 1e-3, placed[..., :3] / np.maximum(alpha, 1e-3), 0.0)
    return np.clip(colour, 0.0, 1.0), alpha


def _shadow(alpha: np.ndarray) -> np.ndarray:
    """Return the soft shadow, [64, 64, 1] in 0..1: the object's coverage, blurred and moved down and to the right."""
    mask = Image.fromarray((alpha[..., 0] * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(2))
    moved = np.roll(np.asarray(mask, dtype=np.float32) / 255.0, (3, 2), axis=(0, 1))
    moved[:3] = 0.0
    moved[:, :2] = 0.0
    return moved[..., None]


def render(scene: Scene) -> np.ndarray:
    """Draw a scene as RGB, uint8 [64, 64, 3]."""
    rng = np.random.default_rng(scene.texture_seed)
    background = (BACKGROUND_PAINTERS | TEXTURE_PAINTERS)[scene.background](rng)
    if scene.companion:
        colour, alpha = _place(scene.companion, sprite(scene.companion.object))
        # Behind the object, and so in its shadow and under the light that the background is under.
        background = background * (1.0 - 0.35 * _shadow(alpha)) * (1.0 - alpha) + colour * alpha
    colour, alpha = _place(scene, marked_sprite(scene.object, scene.mark) if scene.mark else sprite(scene.object))
    if scene.tint:
        colour = colour * np.array(scene.tint, np.float32)
    background = background * (1.0 - 0.35 * _shadow(alpha))
    if scene.condition == "night":
        background = background * np.array([0.26, 0.30, 0.50], np.float32)
        colour = colour * np.array([0.62, 0.64, 0.80], np.float32)
    elif scene.condition == "fog":
        grey = np.array([0.80, 0.82, 0.84], np.float32)
        background = background * 0.42 + grey * 0.58
        colour = colour * 0.72 + grey * 0.28
    image = background * (1.0 - alpha) + colour * alpha
    if scene.condition == "snowfall":
        image = image * 0.90 + 0.10
        flakes = np.zeros((IMAGE_SIZE, IMAGE_SIZE, 1), np.float32)
        for _ in range(26):
            x, y = rng.uniform(0, IMAGE_SIZE, size=2)
            flakes = np.maximum(flakes, soft_disc(x, y, rng.uniform(1.0, 1.9)))
        image = image * (1.0 - flakes) + flakes
    sharp = Image.fromarray((np.clip(image, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8))
    # A slightly soft lens: detail at the pixel limit would only measure how many bits the autoencoder has.
    return np.asarray(sharp.filter(ImageFilter.GaussianBlur(LENS_BLUR)))
