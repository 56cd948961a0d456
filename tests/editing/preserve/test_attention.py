"""Masks from attention: their range, and images whose prompt does not hold their word."""

from __future__ import annotations

import pytest
import torch

from augment.editing import EditConfig, Objects, edit
from augment.editing.preserve.attention import over_unit_range
from augment.models.stable_diffusion import StableDiffusion
from tests.models.checks import pictures
from tests.pipelines import stable_diffusion


def test_each_map_is_stretched_by_itself():
    maps = torch.tensor([[0.1, 0.3], [2.0, 6.0], [0.5, 0.5]]).view(3, 1, 1, 2)
    assert torch.equal(over_unit_range(maps).view(3, 2), torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, 0.0]]))
    middle = over_unit_range(torch.tensor([1.0, 1.5, 3.0]).view(1, 1, 1, 3))
    torch.testing.assert_close(middle.flatten(), torch.tensor([0.0, 0.25, 1.0]))


def test_an_image_without_its_word_is_edited_as_without_a_mask_and_that_is_said_once(caplog):
    model = StableDiffusion(stable_diffusion(), model_id="toy", revision="")
    config = EditConfig(num_steps=4, preserve="attention")
    prompts, targets = ["a picture of a fox", "a picture"], [["snow"], ["snow", "a fox"]]

    def edits(preserve):
        changed = config.model_copy(update={"preserve": preserve})
        return edit(model, pictures(), prompts, targets, changed, objects=Objects(["fox", "picturesque owl"])).edits

    plain, kept = edits("none"), edits("attention")
    assert torch.equal(kept[1], plain[1])
    assert (kept[0] - plain[0]).abs().max() > 1e-3
    edits("attention")
    said = [r.getMessage() for r in caplog.records if r.name == "augment.editing.preserve.attention"]
    assert len(said) == 1
    assert "'a picture' has no 'picturesque owl'" in said[0]


@pytest.mark.parametrize("words", [["fox"], ["fox", "owl", "fox"]])
def test_a_word_is_wanted_for_each_image(words):
    model = StableDiffusion(stable_diffusion(), model_id="toy", revision="")
    with pytest.raises(ValueError, match=f"one word for the object per image: 2 images, {len(words)} were given"):
        edit(model, pictures(), ["a fox", "an owl"], [[], []], EditConfig(preserve="attention"), objects=Objects(words))
