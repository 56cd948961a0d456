"""Interpolated noise: exact values of the curves, and images between images on a toy pipeline."""

from __future__ import annotations

import math

import pytest
import torch

from augment.diffusion import lerp, slerp
from augment.editing import EditConfig, edit
from augment.editing.interpolate import (
    InvertedNoise,
    generate,
    interpolate,
    invert_images,
)
from augment.editing.pairs import choose_pairs
from augment.errors import InputError, PromptError
from augment.models.stable_diffusion import StableDiffusion
from augment.prompts import PromptConfig
from augment.types import Source
from tests.pipelines import stable_diffusion
from tests.variants import variants


@pytest.fixture(autouse=True)
def same_numbers_each_time():
    torch.manual_seed(0)


def rows(*values):
    return torch.tensor(values, dtype=torch.float32)


def test_half_way_between_orthogonal_unit_vectors():
    found = slerp(rows([1, 0, 0]), rows([0, 1, 0]), 0.5)
    torch.testing.assert_close(found, rows([math.sqrt(0.5), math.sqrt(0.5), 0]))


def test_a_third_of_a_right_angle_is_thirty_degrees():
    found = slerp(rows([1, 0]), rows([0, 1]), 1 / 3)
    torch.testing.assert_close(found, rows([math.cos(math.pi / 6), math.sin(math.pi / 6)]))


def test_the_norm_goes_linearly_from_one_to_the_other():
    a, b = torch.randn(4, 3, 8, 8), torch.randn(4, 3, 8, 8)
    a, b = 2 * a / a.flatten(1).norm(dim=1).view(-1, 1, 1, 1), 6 * b / b.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    for weight, norm in ((0.25, 3.0), (0.5, 4.0), (0.9, 5.6)):
        found = slerp(a, b, weight).flatten(1).norm(dim=1)
        torch.testing.assert_close(found, torch.full((4,), norm))


def test_the_straight_line_loses_norm_where_the_sphere_does_not():
    a, b = rows([32, 0]), rows([0, 32])
    assert float(lerp(a, b, 0.5).norm()) == pytest.approx(32 * math.sqrt(0.5))
    assert float(slerp(a, b, 0.5).norm()) == pytest.approx(32)


def test_the_ends_are_the_two_to_the_last_bit():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(16, 4, 8, 8, generator=generator) for _ in range(2))
    assert torch.equal(slerp(a, b, 0.0), a)
    assert torch.equal(slerp(a, b, 1.0), b)


def test_backwards_is_the_same_way():
    a, b = torch.randn(3, 20), torch.randn(3, 20)
    torch.testing.assert_close(slerp(a, b, 0.3), slerp(b, a, 0.7))


def test_parallel_vectors():
    a = torch.randn(3, 4, 2, 2)
    torch.testing.assert_close(slerp(a, 3 * a, 0.5), 2 * a)
    assert torch.equal(slerp(a, a, 0.4), a)


def test_opposite_vectors_turn_through_a_direction_across_both():
    a = torch.randn(5, 30)
    half = slerp(a, -3 * a, 0.5)
    torch.testing.assert_close(half.norm(dim=1), 2 * a.norm(dim=1))
    torch.testing.assert_close((half * a).sum(dim=1), torch.zeros(5), atol=1e-5, rtol=0)
    assert torch.equal(slerp(a, -3 * a, 1.0), -3 * a)
    torch.testing.assert_close(slerp(rows([0, 2]), rows([0, -2]), 0.5), rows([2, 0]))


def test_a_zero_vector_has_the_direction_of_the_other():
    a, zero = torch.randn(2, 7), torch.zeros(2, 7)
    torch.testing.assert_close(slerp(zero, a, 0.25), 0.25 * a)
    torch.testing.assert_close(slerp(a, zero, 0.25), 0.75 * a)
    assert torch.equal(slerp(zero, zero, 0.5), zero)


def test_every_sample_goes_its_own_way():
    a, b = rows([1, 0], [0, 0], [1, 1], [0, 5]), rows([0, 1], [0, 4], [1, 1], [0, -5])
    together = slerp(a, b, 0.5)
    assert torch.equal(together, torch.cat([slerp(a[i : i + 1], b[i : i + 1], 0.5) for i in range(4)]))
    assert torch.isfinite(together).all()


def test_noise_of_steps_goes_the_same_way_as_the_start():
    a = InvertedNoise(torch.full((1, 1, 1, 2), 4.0), [rows([1, 0]).view(1, 1, 1, 2)])
    b = InvertedNoise(torch.full((1, 1, 1, 2), 8.0), [rows([0, 1]).view(1, 1, 1, 2)])
    found = a.towards(b, 0.5)
    torch.testing.assert_close(found.latents, torch.full((1, 1, 1, 2), 6.0))
    torch.testing.assert_close(found.steps[0].flatten(), torch.full((2,), math.sqrt(0.5)))


# --- on a pipeline ---------------------------------------------------------------------------------------------------

A, B, TARGET = ["a picture of a fox"] * 3, ["a picture of an owl", "a fox", "an owl"], ["a fox on snow"] * 3


@pytest.fixture(scope="module")
def model():
    return StableDiffusion(stable_diffusion(), model_id="toy", revision="")


@pytest.fixture(scope="module")
def images():
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(3, 3, 16, 16, generator=generator) * 2 - 1 for _ in range(2)]


def settings(sampler, **changes):
    values = {"sampler": sampler, "num_steps": 4, "strength": 1.0, "guidance_scale": 1.0}
    return EditConfig(**(values | changes))


@pytest.mark.parametrize(
    ("sampler", "changes"),
    variants(
        [
            ("ddim", {}),
            ("ddim", {"strength": 0.5, "adjustment_strength": 0.25}),
            ("", {"guidance_scale": 2.0, "inversion_guidance_scale": 2.0}),
            ("euler_ancestral", {"match_noise": True}),
            ("euler_ancestral", {"match_noise": False}),
        ],
        kept=[("ddim", {"strength": 0.5, "adjustment_strength": 0.25}), ("euler_ancestral", {"match_noise": True})],
    ),
)
def test_the_ends_under_the_source_prompts_are_the_reconstructions(model, images, sampler, changes):
    config, seeds = settings(sampler, **changes), [1, 2, 3]
    for target, which in ((A, 0), (B, 1)):
        found = interpolate(model, *images, A, B, target, [float(which)], config, seeds=seeds)
        known = edit(model, images[which], target, [[]] * 3, config, seeds=seeds).reconstruction
        assert torch.equal(found[:, 0], known)


def test_images_between_come_in_the_order_of_the_weights(model, images):
    config = settings("ddim", guidance_scale=3.0, strength=0.75)
    found = interpolate(model, *images, A, B, TARGET, [0.2, 0.9], config)
    assert found.shape == (3, 2, 3, 16, 16)
    a, b = invert_images(model, images[0], A, config), invert_images(model, images[1], B, config)
    for k, weight in enumerate((0.2, 0.9)):
        noise = InvertedNoise(slerp(a.latents, b.latents, weight))
        assert torch.equal(found[:, k], generate(model, noise, TARGET, config, 3.0))
    assert not torch.allclose(found[:, 0], found[:, 1], atol=1e-3)
    straight = interpolate(model, *images, A, B, TARGET, [0.2, 0.9], config, curve=lerp)
    assert not torch.allclose(found, straight, atol=1e-4)


@pytest.mark.parametrize("sampler", ["ddim", "euler_ancestral"])
def test_a_pair_does_not_depend_on_the_others(model, images, sampler):
    config, seeds = settings(sampler, guidance_scale=2.0), [4, 5, 6]
    together = interpolate(model, *images, A, B, TARGET, [0.3, 0.6], config, seeds=seeds)
    i = 1
    alone = interpolate(
        model,
        images[0][i : i + 1],
        images[1][i : i + 1],
        A[i : i + 1],
        B[i : i + 1],
        TARGET[i : i + 1],
        [0.3, 0.6],
        config,
        seeds=seeds[i : i + 1],
    )
    torch.testing.assert_close(together[i : i + 1], alone, atol=1e-4, rtol=0)


def test_unequal_numbers_are_refused(model, images):
    with pytest.raises(ValueError, match="3 images a, 3 images b, 2 and 3 source prompts and 3 target prompts"):
        interpolate(model, *images, A[:2], B, TARGET, [0.5], settings("ddim"))
    with pytest.raises(ValueError, match="3 images need one seed each, 1 were given"):
        interpolate(model, *images, A, B, TARGET, [0.5], settings("euler_ancestral"), seeds=[1])


@pytest.mark.parametrize("weights", [[], [0.5, 1.1], [-0.1], [math.nan]])
def test_weights_outside_the_way_are_refused(model, images, weights):
    with pytest.raises(ValueError, match=r"numbers in 0\.\.1"):
        interpolate(model, *images, A, B, TARGET, weights, settings("ddim"))


# --- pairs -----------------------------------------------------------------------------------------------------------

PLACES = [{"name": "snow", "text": "on snow"}, {"name": "city", "text": "in a city"}]
PROMPTS = PromptConfig(templates=("{a_class} {place}",), attributes={"place": PLACES}, differ_from_source=("place",))


def sources(count, label=0, name="fox", **attributes):
    return [Source(f"{name}{i}", "", 0, label, name, attributes=attributes) for i in range(count)]


def keys(pairs):
    return [frozenset((p.a.key, p.b.key)) for p in pairs]


def test_all_pairs_of_a_class_when_all_are_wanted():
    pairs = choose_pairs(sources(5), PROMPTS, 10, seed=0)
    assert len(set(keys(pairs))) == 10
    assert all(len(key) == 2 for key in keys(pairs))
    assert [p.key for p in pairs[:2]] == ["00000-0000", "00000-0001"]
    assert (
        keys(choose_pairs(sources(5), PROMPTS, 10, seed=0))
        == keys(pairs)
        != keys(choose_pairs(sources(5), PROMPTS, 10, seed=1))
    )


def test_pairs_stay_within_a_class_and_take_turns():
    both = [*sources(4), *sources(3, 7, "owl")]
    pairs = choose_pairs(both, PROMPTS, 2, seed=0)
    assert [(p.a.class_name, p.b.class_name) for p in pairs] == [("fox", "fox"), ("owl", "owl")] * 2
    assert [p.key for p in pairs] == ["00000-0000", "00007-0000", "00000-0001", "00007-0001"]
    # Another class leaves the pairs of this one alone.
    assert [p for p in pairs if p.a.label == 0] == choose_pairs(sources(4), PROMPTS, 2, seed=0)


def test_prompts_of_a_pair():
    (pair,) = choose_pairs(sources(2, place="snow"), PROMPTS, 1, seed=0)
    assert (pair.prompt_a, pair.prompt_b, pair.target) == ("a picture of a fox",) * 2 + ("a fox in a city",)


def test_a_pair_has_a_line_of_its_class():
    lines = PromptConfig(lines={"*": ("{a_class} at night", "an owl in fog"), "owl": ("an owl asleep",)})
    fox, owl = choose_pairs([*sources(2), *sources(2, 7, "owl")], lines, 1, seed=0)
    assert fox.target == "a fox at night"
    assert owl.target in ("an owl at night", "an owl in fog", "an owl asleep")
    # With a class of the dataset that has no image here, the line is that of another class.
    with pytest.raises(PromptError, match="has the word of another class, 'night'"):
        choose_pairs(sources(2), lines, 1, seed=0, class_names=("fox", "night"))


def test_a_pair_has_a_prompt_that_one_of_its_images_brings():
    config = PromptConfig(column="edits")
    one, other = sources(1, edits="my fox|a fox asleep")[0], sources(2, edits="its fox")[1]
    (pair,) = choose_pairs([one, other], config, 1, seed=0)
    assert pair.target == {"fox0": "my fox", "fox1": "its fox"}[pair.a.key]
    none = sources(1)[0]
    (pair,) = choose_pairs([none, other], config, 1, seed=0)
    assert pair.target == "its fox"
    with pytest.raises(PromptError, match=r"column 'edits': no prompt for image 'fox. fox.': it has none"):
        choose_pairs(sources(2), config, 1, seed=0)


def test_pairs_of_a_class_share_the_values_of_a_balanced_draw():
    prompts = PROMPTS.model_copy(update={"draw": "balanced"})
    targets = [p.target for p in choose_pairs(sources(5), prompts, 10, seed=0)]
    assert sorted(targets) == ["a fox in a city"] * 5 + ["a fox on snow"] * 5


def test_a_class_with_too_few_images_is_named():
    with pytest.raises(
        InputError, match=r"class 'owl' has 1 image\(s\), that is 0 pair\(s\), but pairs_per_class is 1"
    ):
        choose_pairs([*sources(4), *sources(1, 7, "owl")], PROMPTS, 1, seed=0)
    with pytest.raises(InputError, match=r"has 3 image\(s\), that is 3 pair\(s\), but pairs_per_class is 4"):
        choose_pairs(sources(3), PROMPTS, 4, seed=0)
