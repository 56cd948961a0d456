"""One inversion for all strengths: the same latents and the same edits as with an inversion for each."""

from __future__ import annotations

import pytest
import torch

from augment.editing import EditConfig, Objects, edit
from augment.editing.config import Setting
from augment.editing.inverted import full_schedule, invert_latents, last_steps
from augment.editing.sweep import sweep
from augment.models.config import ModelConfig
from augment.models.load import load_model
from augment.tiny.evaluate import load_split
from tests.variants import variants


@pytest.fixture(scope="module")
def model():
    return load_model(ModelConfig())


@pytest.fixture(scope="module")
def pictures():
    return load_split("val", limit=2)


@pytest.mark.parametrize("sampler", variants(("ddim", "euler_ancestral"), kept=["euler_ancestral"]))
def test_the_trajectory_has_the_inversion_to_every_smaller_strength(model, pictures, sampler):
    config = EditConfig(sampler=sampler, num_steps=4, strength=1.0, adjustment_strength=0.25)
    full, seeds = full_schedule(model, config), [3, 4]
    latents, source = model.encode(pictures.images), model.embed(pictures.captions)
    with torch.no_grad():
        deepest = invert_latents(model, latents, source, seeds, config, full, trajectory_dtype=torch.float32)
        for strength, steps in ((0.25, 1), (0.5, 2), (0.75, 3), (1.0, 4)):
            alone = config.model_copy(update={"strength": strength})
            inversion = invert_latents(model, latents, source, seeds, alone, full)
            part = last_steps(deepest, steps)
            noise = part.noise
            assert torch.equal(part.latents, inversion.latents) and part.num_steps == inversion.num_steps == steps
            assert part.trajectory is not None and len(part.trajectory) == steps
            assert torch.equal(part.trajectory[0], last_steps(deepest, max(steps - 1, 1)).latents) or steps == 1
            if inversion.noise is None:  # the last step of any sampler adds none
                assert sampler == "ddim" or steps == 1
            else:
                assert noise is not None
                assert torch.equal(torch.stack(noise), torch.stack(inversion.noise))


PRESERVING = [
    {},
    {"preserve": "attention", "self_replace_steps": 1.0},
    {"preserve": "difference", "self_replace_steps": 0.5},
    {"preserve": "mask", "cross_replace_steps": 0.5},
    {"self_replace_steps": 0.5},
]


@pytest.mark.parametrize(
    "preserving",
    [pytest.param(p, marks=[pytest.mark.slow] * (p.get("preserve") != "attention")) for p in PRESERVING],
    ids=lambda p: p.get("preserve", "-".join(p)) or "plain",
)
def test_edits_are_those_of_edit_at_each_setting(model, pictures, preserving):
    prompts = [["a picture of a fox in the city", "a picture of a fox on snow"], ["a picture of a bus on snow"]]
    config = EditConfig(sampler="euler_ancestral", num_steps=4, **preserving)
    grid = [Setting(0.5, 1.0), Setting(1.0, 3.0), Setting(0.5, 3.0)]
    given = (model, pictures.images, pictures.captions, prompts)
    known = {
        "seeds": [3, 4],
        "objects": Objects(
            pictures.attribute("object"), torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
        ),
    }
    swept = dict(sweep(*given, config, grid, **known))
    assert list(swept) == grid
    for setting, edits in swept.items():
        expected = edit(*given, config.model_copy(update=setting._asdict()), **known).edits
        assert [len(of_one) for of_one in edits] == [2, 1]
        assert torch.equal(torch.cat(edits), torch.cat(expected))
    assert (torch.cat(swept[grid[0]]) - torch.cat(swept[grid[1]])).abs().max() > 0.1
