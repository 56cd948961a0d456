"""The autoencoder's loss: each term is what it says it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from augment.tiny.autoencoder import (
    MEAN_EDGES,
    build_glyph_classifier,
    contrast_weights,
    edge_differences,
    energy_differences,
    feature_difference,
    glyph_loss,
    vae_loss,
)
from augment.tiny.networks import LATENT_CHANNELS, build_vae
from augment.tiny.stages import SceneCache, glyph_attributes
from augment.tiny.training import StepRandom, VaeTerms

PICTURES = torch.randint(0, 256, (4, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
CACHE = SceneCache(PICTURES, torch.zeros(4, 5, dtype=torch.int64))


class Coder(nn.Module):
    """An autoencoder that gives back what it got, `brighter` by so much; latents have mean 1 and variance e."""

    def __init__(self, brighter: float = 0.0) -> None:
        super().__init__()
        self.brighter = brighter

    def encode(self, images):
        self.images = images
        self.mean = torch.ones(len(images), LATENT_CHANNELS, 8, 8)
        self.logvar = self.mean
        self.latent_dist = self
        return self

    def decode(self, latents):
        self.sample = self.images + self.brighter
        return self


def loss_of(coder, **terms):
    weights = VaeTerms(**({"kl": 0.0, "edges": 0.0, "perceptual": 0.0} | terms))
    torch.manual_seed(0)
    return float(vae_loss(CACHE, build_glyph_classifier(), weights)(coder, StepRandom(0, "vae", 0), 4))


def test_squared_error_and_kl_divergence():
    assert loss_of(Coder()) == 0.0
    assert loss_of(Coder(0.5)) == pytest.approx(0.25, rel=1e-4)
    assert loss_of(Coder(), kl=2.0) == pytest.approx(2.0 * 0.5 * (1 + np.e - 1 - 1), rel=1e-5)


def test_a_change_of_brightness_has_no_edges_but_features():
    assert loss_of(Coder(0.5), edges=1.0) == pytest.approx(0.25, rel=1e-4)
    assert loss_of(Coder(0.0), perceptual=1.0) == 0.0
    assert loss_of(Coder(0.5), perceptual=1.0) > 0.26


def test_edges_of_a_step():
    images = torch.zeros(1, 1, 4, 4)
    images[..., 2:] = 1.0  # one edge between the columns 1 and 2: 4 of the 12 differences across
    both = torch.cat([images, 2 * images])
    assert edge_differences(both, torch.zeros_like(both)).tolist() == pytest.approx([4 / 12, 8 / 12])


def test_energy_sees_how_many_edges_there_are_and_not_where_within_8_pixels():
    step, moved, blurred = (torch.zeros(1, 1, 64, 64) for _ in range(3))
    step[..., 3:] = 1.0
    moved[..., 5:] = 1.0
    blurred[..., 3:] = 0.5
    assert energy_differences(step, step).tolist() == [0.0]
    assert energy_differences(moved, step).tolist() == [0.0]
    assert float(edge_differences(moved, step)) > 0
    # Of 8 places across in each of the 8 blocks of the first column, one holds the whole edge: an eighth less a half.
    assert energy_differences(blurred, step).tolist() == pytest.approx([0.5 / 8 / 8])


def test_faint_pictures_weigh_more_within_limits():
    strong, mean, faint = (torch.zeros(1, 1, 64, 64) for _ in range(3))
    for images, period, height in ((strong, 2, 1.0), (mean, 2, MEAN_EDGES), (faint, 64, 0.1)):
        images[..., period // 2 :: period] = height
    assert contrast_weights(torch.cat([mean, strong, faint])).tolist() == pytest.approx([1.0, 0.5, 4.0], rel=0.02)
    assert loss_of(Coder(0.5), contrast=1.0) == pytest.approx(0.5 * 0.25, rel=1e-3)  # noise has edges: half the weight


def test_features_of_one_picture_do_not_differ_and_only_the_made_one_gets_a_gradient():
    torch.manual_seed(0)
    network, one, other = build_glyph_classifier(), torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64)
    assert float(feature_difference(network, one, one).detach()) == 0.0
    one.requires_grad_(True)
    other.requires_grad_(True)
    feature_difference(network, one, other).backward()
    assert float(one.grad.abs().sum()) > 0 and other.grad is None


def test_the_perceptual_network_has_no_gradient_and_the_autoencoder_has():
    perceptual, vae = build_glyph_classifier(), build_vae()
    loss = vae_loss(CACHE, perceptual, VaeTerms(edges=0.1, perceptual=0.1))
    loss(vae, StepRandom(0, "vae", 0), 2).backward()
    assert all(p.grad is None for p in perceptual.parameters())
    assert float(vae.encoder.conv_in.weight.grad.abs().sum()) > 0


def test_the_glyph_classifiers_loss_is_the_entropy_of_a_uniform_guess():
    sizes = {name: len(values) for name, values in glyph_attributes().items()}

    class Uniform(nn.Module):
        def forward(self, images):
            return {name: torch.zeros(len(images), size) for name, size in sizes.items()}

    expected = np.log(sizes["glyph"]) + np.log(sizes["mark"])
    assert float(glyph_loss(CACHE)(Uniform(), StepRandom(0, "glyphs", 0), 4)) == pytest.approx(expected, rel=1e-5)
