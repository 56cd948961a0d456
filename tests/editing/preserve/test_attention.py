"""Masks from attention: their range, and images whose prompt does not hold their word."""

from __future__ import annotations

import pytest
import torch

from augment.editing import EditConfig, Objects, edit
from augment.editing.preserve.attention import attention_masks, over_median
from augment.models.stable_diffusion import StableDiffusion
from tests.models.checks import pictures
from tests.pipelines import stable_diffusion


def test_each_map_is_measured_above_its_own_median():
    maps = torch.tensor([[0.1, 0.2, 0.3], [2.0, 4.0, 8.0], [0.5, 0.5, 0.5], [0.1, 0.5, 0.5]]).view(4, 1, 1, 3)
    found = over_median(maps).view(4, 3)
    torch.testing.assert_close(found[:2], torch.tensor([[-1.0, 0.0, 1.0], [-0.5, 0.0, 1.0]]))
    assert torch.equal(found[2:].abs(), torch.zeros(2, 3))  # no peak


@pytest.mark.parametrize("level", [0.0, 0.02, 0.5])
def test_what_the_whole_scene_attends_to_is_not_in_the_mask(level):
    """The attention that every position has, and differences within the scene, leave the object's mask as it is."""
    attention = torch.full((1, 1, 4, 4), level) + torch.linspace(0.0, 0.04, 16).view(1, 1, 4, 4).roll(3, 2)
    attention[..., 1:3, 1:3] = level + torch.tensor([[0.4, 0.17], [0.12, 0.4]])
    found = masks_of(attention)
    expected = torch.zeros(4, 4)
    median = level + attention.sub(level).flatten().median()
    expected[1:3, 1:3] = (((attention[0, 0, 1:3, 1:3] - median) / (level + 0.4 - median) - 0.2) / 0.2).clamp(0, 1)
    torch.testing.assert_close(found[0, 0], expected, atol=1e-5, rtol=0)
    assert 0.0 < found[0, 0, 2, 1] < 1.0  # on the edge


def masks_of(attention):
    class Watch:
        found = torch.tensor([True])

        def maps(self, timesteps):
            return attention

    return attention_masks(Watch(), ["a fox"], ["fox"], [1.0])


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
