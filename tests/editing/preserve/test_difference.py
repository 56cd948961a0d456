"""DiffEdit's mask against a transcription of the paper, and its place on the schedule."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from augment.diffusion import Denoiser, ddim
from augment.editing import EditConfig, edit
from augment.editing.preserve.difference import difference_masks, unchanged
from augment.inversion import FixedPoint, Stop, invert
from augment.models.stable_diffusion import StableDiffusion
from tests.models.checks import PROMPTS, pictures
from tests.pipelines import stable_diffusion

ALPHAS = torch.linspace(0.9999, 0.01, 1000)


def transcribed(target: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Couairon et al. 2023, step 1, for one sample [C, h, w] with one draw of noise, the clamp as diffusers has it."""
    difference = np.abs(target - source).mean(axis=0)
    largest = 3.0 * difference.mean()
    normalised = np.minimum(difference, largest) / largest
    edited = np.where(normalised <= 0.5, 0.0, 1.0)
    return 1.0 - edited


def test_the_mask_is_that_of_the_paper():
    generator = torch.Generator().manual_seed(0)
    source = torch.randn(5, 4, 8, 8, generator=generator)
    target = source + torch.randn(5, 4, 8, 8, generator=generator) ** 3 * torch.logspace(-3, 1, 5).view(5, 1, 1, 1)
    kept = unchanged(target, source)
    assert kept.shape == (5, 1, 8, 8) and 0.3 < kept.mean() < 0.95
    for i in range(5):
        assert np.array_equal(kept[i, 0].numpy(), transcribed(target[i].numpy(), source[i].numpy()))
        assert torch.equal(unchanged(target[i : i + 1], source[i : i + 1]), kept[i : i + 1])


def test_equal_predictions_keep_everything():
    same = torch.randn(2, 4, 3, 3)
    assert torch.equal(unchanged(same, same), torch.ones(2, 1, 3, 3))


@pytest.mark.parametrize(("strength", "first"), [(1.0, 5), (0.8, 3), (0.5, 0), (0.3, 0)])
def test_predictions_are_compared_at_half_of_the_schedule_or_where_sampling_starts(strength, first):
    full = ddim(ALPHAS, 10)
    schedule = full.last_part(strength)
    asked = []

    def predict(z, t, shift):
        asked.append((z, t))
        return 0.1 * z + shift.view(-1, 1, 1, 1)

    source = Denoiser(predict, (torch.zeros(2),))
    latents = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    stop = Stop(max_steps=3, tolerance=0.0)
    inversion = invert(source, latents, schedule, FixedPoint(), stop, trajectory_dtype=torch.float32)
    asked.clear()
    owners = torch.tensor([1, 0, 1])
    masks = difference_masks(source, Denoiser(predict, (torch.ones(3),)), inversion, owners, full)
    assert masks.shape == (3, 1, 4, 4) and torch.equal(masks, torch.ones_like(masks))  # everywhere as different
    (of_source, t), (of_target, t_target) = asked
    expected = inversion.latents if first == 0 else inversion.trajectory[first - 1]
    assert torch.equal(of_source, expected) and torch.equal(of_target, expected[owners])
    assert t.tolist() == [schedule.steps[first].timestep] * 2 and t_target.tolist() == t.tolist()[:1] * 3


def test_an_edit_under_the_source_prompt_itself_is_the_source():
    model = StableDiffusion(stable_diffusion(), model_id="toy", revision="")
    config = EditConfig(num_steps=6, strength=0.8, preserve="difference", preserve_until=1.0)
    result = edit(model, pictures(), PROMPTS, [[PROMPTS[0], "snow"], []], config)
    assert torch.equal(result.edits[0][0], result.round_trip[0])
    assert (result.edits[0][1] - result.round_trip[0]).abs().max() > 1e-2
