"""Patch distances by hand."""

from __future__ import annotations

import pytest
import torch

from augment.scoring import patch_distance


def test_mean_over_patches_of_one_minus_cosine():
    # angles of 0, 90, 180 and 60 degrees, at lengths that do not matter: 0, 1, 2 and 1/2
    reference = torch.tensor([[1.0, 0.0]] * 4)
    features = torch.tensor([[3.0, 0.0], [0.0, 2.0], [-1.0, 0.0], [0.5, 0.75**0.5]])
    assert float(patch_distance(features[None], reference[None])) == pytest.approx((0 + 1 + 2 + 0.5) / 4)


def test_it_is_per_picture_and_compares_patches_at_the_same_place():
    reference = torch.eye(2)[None].repeat(2, 1, 1)
    features = torch.stack([reference[0], reference[1].flip(0)])
    assert patch_distance(features, reference).tolist() == pytest.approx([0.0, 1.0])
