"""PSNR by hand."""

from __future__ import annotations

import pytest
import torch

from augment.scoring import psnr


def test_psnr_by_hand():
    reference = torch.zeros(3, 3, 4, 4)
    images = torch.stack([torch.full((3, 4, 4), v) for v in (0.2, 2.0, 0.0)])
    # peak 2: 20 log10(2 / 0.2) = 20 dB, 20 log10(2 / 2) = 0 dB, identical pictures 100
    assert psnr(images, reference).tolist() == pytest.approx([20.0, 0.0, 100.0], abs=1e-4)


def test_psnr_is_per_image():
    images = torch.rand(4, 3, 8, 8)
    together = psnr(images, images * 0.9)
    assert together.tolist() == pytest.approx([float(psnr(x[None], x[None] * 0.9)) for x in images])
