"""Pictures moved before they are inverted, so that edits show their object elsewhere, larger, smaller or flipped."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor

from augment.editing.config import MoveConfig


@dataclass(frozen=True)
class Move:
    """How a picture is moved.

    Attributes:
        flip: whether left and right are exchanged, first.
        scale: factor of all sizes, about the middle.
        right, down: by which shares of the width and the height everything is shifted, last.
    """

    flip: bool = False
    scale: float = 1.0
    right: float = 0.0
    down: float = 0.0


def draw_move(config: MoveConfig, seed: int) -> Move:
    """Return a move of the kind that the config allows; the same for the same seed."""
    rng = np.random.default_rng(seed)
    flip = bool(rng.random() < config.flip)
    right, down = (float(v) for v in rng.uniform(-config.shift, config.shift, 2))
    low, high = config.scale
    return Move(flip, float(np.exp(rng.uniform(np.log(low), np.log(high)))), right, down)


def moved(pixels: UInt8[np.ndarray, "H W C"], move: Move) -> UInt8[np.ndarray, "H W C"]:
    """Return a picture moved; what comes in from outside is the picture mirrored at its border.

    A flip alone is exact; everything else is interpolated linearly, between the centres of the pixels.
    """
    if move == Move(flip=move.flip):
        return np.ascontiguousarray(pixels[:, ::-1]) if move.flip else pixels
    side = -1.0 if move.flip else 1.0
    # From a place in the result to the one in the picture, in -1..1: back by the shift, then by scale and flip.
    back = torch.tensor(
        [
            [
                [side / move.scale, 0.0, -2 * side * move.right / move.scale],
                [0.0, 1 / move.scale, -2 * move.down / move.scale],
            ]
        ]
    )
    picture: Tensor = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    grid = F.affine_grid(back, list(picture.shape), align_corners=False)
    found = F.grid_sample(picture, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return found[0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8).numpy()
