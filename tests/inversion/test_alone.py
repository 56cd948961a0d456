"""A sample is solved to the same bits alone and among others, where the network itself rounds alike."""

from __future__ import annotations

import pytest
import torch

from augment.diffusion import Denoiser, ddim
from augment.inversion import SOLVERS, Stop, invert, make_solver
from tests.problems import latents

SHAPE = (16, 8, 8)  # large enough for sums to be rounded by their order
SCHEDULE = ddim(torch.linspace(0.999, 0.05, 1000), 3)


@pytest.mark.parametrize("name", SOLVERS)
def test_the_others_change_no_bit(name: str) -> None:
    denoiser = Denoiser(lambda z, t: torch.tanh(z) * torch.sigmoid(0.3 * z), ())
    clean, stop = latents(4, shape=SHAPE), Stop(max_steps=3, tolerance=0.0)
    together = invert(denoiser, clean, SCHEDULE, make_solver(name), stop)
    for index in ([0], [1, 2], [3]):
        some = invert(denoiser, clean[index], SCHEDULE, make_solver(name), stop)
        assert torch.equal(some.latents, together.latents[index])
