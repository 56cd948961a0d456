"""Distance of two pictures patch by patch, in the features of a vision transformer."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def patch_distance(features: Float[Tensor, "B P D"], reference: Float[Tensor, "B P D"]) -> Float[Tensor, " B"]:
    """Return the mean over the patches of 1 - cosine similarity, in 0..2; patches are compared at the same place only.

    It is 0 for the same picture, and larger the more patches changed and the more each of them did.
    """
    return (1.0 - F.cosine_similarity(features.float(), reference.float(), dim=2)).mean(dim=1)
