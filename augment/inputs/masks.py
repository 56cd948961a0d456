"""From the bytes of a mask file to the share of each pixel that is kept."""

from __future__ import annotations

import numpy as np

from augment.errors import ImageError
from augment.inputs.fit import Fit
from augment.inputs.headers import size_of_file
from augment.inputs.images import decode_image


def decode_mask(data: bytes, fit: Fit, picture: bytes) -> np.ndarray:
    """Return the share to keep, 0 (nothing) to 255 (all), uint8 [H, W, 1], fitted as the picture is.

    It is the brightness of the mask: black changes with the scene, white is kept, grey is between.

    Args:
        data: the mask file's content.
        fit: how the picture is fitted.
        picture: the picture file's content.

    Raises:
        ImageError: if the mask is not readable, or not as large as the picture turned upright.
    """
    try:
        mask = decode_image(data, colour="ignore").convert("L")
    except ImageError as error:
        raise ImageError(f"its mask: {error}") from error
    wanted = size_of_file(picture)
    if mask.size != wanted:
        own, other = (f"{width}x{height}" for width, height in (mask.size, wanted or (0, 0)))
        raise ImageError(f"its mask is {own} pixels, the picture {other}; a mask has a pixel for each of the picture's")
    return np.asarray(fit.apply(mask, mask.size))[..., None]
