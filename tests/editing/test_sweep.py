"""One inversion for all strengths: the same latents and the same edits as with an inversion for each."""

from __future__ import annotations

import pytest
import torch

from augment.editing import EditConfig, edit
from augment.editing.edits import full_schedule, invert_latents
from augment.editing.sweep import Setting, start_of_last_steps, sweep
from augment.models.config import ModelConfig
from augment.models.load import load_model
from augment.tiny.evaluate import load_split


@pytest.fixture(scope="module")
def model():
    return load_model(ModelConfig())


@pytest.fixture(scope="module")
def pictures():
    return load_split("val", limit=2)


@pytest.mark.parametrize("sampler", ["ddim", "euler_ancestral"])
def test_the_trajectory_has_the_inversion_to_every_smaller_strength(model, pictures, sampler):
    config = EditConfig(sampler=sampler, num_steps=4, strength=1.0, adjustment_strength=0.25)
    full, seeds = full_schedule(model, config), [3, 4]
    latents, source = model.encode(pictures.images), model.embed(pictures.captions)
    with torch.no_grad():
        deepest = invert_latents(model, latents, source, seeds, config, full, trajectory_dtype=torch.float32)
        for strength, steps in ((0.25, 1), (0.5, 2), (0.75, 3), (1.0, 4)):
            alone = config.model_copy(update={"strength": strength})
            inversion = invert_latents(model, latents, source, seeds, alone, full)
            start, noise = start_of_last_steps(deepest, steps)
            assert torch.equal(start, inversion.latents)
            if inversion.noise is None:  # the last step of any sampler adds none
                assert sampler == "ddim" or steps == 1
            else:
                assert noise is not None
                assert torch.equal(torch.stack(noise), torch.stack(inversion.noise))


def test_edits_are_those_of_edit_at_each_setting(model, pictures):
    prompts = [["a picture of a fox in the city", "a picture of a fox on snow"], ["a picture of a bus on snow"]]
    config = EditConfig(sampler="euler_ancestral", num_steps=4)
    grid = [Setting(0.5, 1.0), Setting(1.0, 3.0), Setting(0.5, 3.0)]
    swept = dict(sweep(model, pictures.images, pictures.captions, prompts, config, grid, seeds=[3, 4]))
    assert list(swept) == grid
    for setting, edits in swept.items():
        alone = config.model_copy(update=setting._asdict())
        expected = edit(model, pictures.images, pictures.captions, prompts, alone, seeds=[3, 4]).edits
        assert [len(of_one) for of_one in edits] == [2, 1]
        assert torch.equal(torch.cat(edits), torch.cat(expected))
    assert (torch.cat(swept[grid[0]]) - torch.cat(swept[grid[1]])).abs().max() > 0.1


def test_what_preserves_is_refused(model, pictures):
    config = EditConfig(preserve="difference")
    with pytest.raises(ValueError, match="preserve: difference"):
        list(sweep(model, pictures.images, pictures.captions, [["a fox"]] * 2, config, [Setting(0.5, 1.0)]))
