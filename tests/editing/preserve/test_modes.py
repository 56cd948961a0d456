"""Every mode on every family at toy size: what is kept, what it costs, and that samples do not see one another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from augment.editing import EditConfig, EditResult, Objects, edit
from augment.inversion import Stop
from augment.models.diffusers_model import DiffusersModel
from augment.models.flux import Flux
from augment.models.sd3 import StableDiffusion3
from augment.models.sdxl import StableDiffusionXL
from augment.models.stable_diffusion import StableDiffusion
from tests.pipelines import flux, latent_consistency, stable_diffusion, stable_diffusion_3, stable_diffusion_xl
from tests.variants import variants

FAMILIES: dict[str, tuple[type[DiffusersModel], Callable[[], Any]]] = {
    "sd": (StableDiffusion, stable_diffusion),
    "lcm": (StableDiffusion, latent_consistency),
    "sdxl": (StableDiffusionXL, stable_diffusion_xl),
    "sd3": (StableDiffusion3, stable_diffusion_3),
    "sd3 without t5": (StableDiffusion3, lambda: stable_diffusion_3(with_t5=False)),
    "flux dev": (Flux, lambda: flux(guidance_embeds=True, use_dynamic_shifting=True)),
    "flux schnell": (Flux, lambda: flux(guidance_embeds=False, use_dynamic_shifting=False)),
}
PROMPTS = ["a picture of a fox on snow", "owl", "a fox of an owl"]
WORDS = ["fox", "owl", "owl"]
TARGETS = [["snow", "a picture of a picture of a fox"], ["a fox"], []]
IMAGES = torch.rand(3, 3, 16, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1
MASKS = torch.rand(3, 1, 16, 24, generator=torch.Generator().manual_seed(1))
MODES = ["attention", "difference", "mask"]
REPLACING = [("none", 0.5), ("attention", 1.0), ("difference", 1.0), ("mask", 1.0)]  # share of self-attention replaced


def load(name: str) -> DiffusersModel:
    family, pipeline = FAMILIES[name]
    return family(pipeline(), model_id="toy", revision="")


def settings(preserve: str, **changes: Any) -> EditConfig:
    values: dict[str, Any] = {
        "num_steps": 4,
        "strength": 0.75,
        "guidance_scale": 2.0,
        "preserve": preserve,
        "stop": Stop(max_steps=2, tolerance=0.0),
    }
    return EditConfig(**(values | changes))


def edited(model: DiffusersModel, config: EditConfig, index: list[int] | None = None) -> EditResult:
    chosen = [0, 1, 2] if index is None else index
    return edit(
        model,
        IMAGES[chosen],
        [PROMPTS[i] for i in chosen],
        [TARGETS[i] for i in chosen],
        config,
        seeds=chosen,
        objects=Objects([WORDS[i] for i in chosen], MASKS[chosen]),
    )


@pytest.mark.parametrize("family", variants(FAMILIES, kept=("sd", "sdxl", "sd3", "flux dev")))
def test_every_mode_keeps_some_of_the_source_and_leaves_the_inversion_alone(family: str) -> None:
    model = load(family)
    plain = edited(model, settings("none"))
    processors = model.network.attn_processors
    for mode in MODES:
        found = edited(model, settings(mode))
        assert model.network.attn_processors == processors
        assert torch.equal(found.reconstruction, plain.reconstruction)
        assert (found.evaluations, found.residual) == (plain.evaluations, plain.residual)
        assert [tuple(e.shape) for e in found.edits] == [(2, 3, 16, 24), (1, 3, 16, 24), (0, 3, 16, 24)]
        for ours, without in zip(found.edits[:2], plain.edits[:2], strict=True):
            assert ours.isfinite().all()
            assert (ours - without).abs().amax(dim=(1, 2, 3)).min() > 1e-4
    assert not torch.equal(edited(model, settings("mask")).edits[0], edited(model, settings("attention")).edits[0])


@pytest.mark.parametrize(
    ("mode", "share", "family"),
    variants(
        [(*replacing, family) for replacing in REPLACING for family in FAMILIES],
        kept=[
            *((*replacing, family) for replacing in REPLACING for family in ("sd", "flux dev")),
            *(("attention", 1.0, family) for family in ("sdxl", "sd3")),
        ],
    ),
)
def test_every_family_attends_as_its_sources_do(mode: str, share: float, family: str) -> None:
    model = load(family)
    plain = edited(model, settings(mode))
    processors = model.network.attn_processors
    found = edited(model, settings(mode, self_replace_steps=share))
    assert model.network.attn_processors == processors
    assert torch.equal(found.reconstruction, plain.reconstruction)
    assert (found.evaluations, found.residual) == (plain.evaluations, plain.residual)
    for ours, without in zip(found.edits[:2], plain.edits[:2], strict=True):
        assert ours.isfinite().all()
        assert (ours - without).abs().amax(dim=(1, 2, 3)).min() > 1e-6


def test_where_the_mask_is_empty_nothing_is_replaced_and_where_it_is_full_all_is() -> None:
    model = load("sd")

    def edits(masks: torch.Tensor, share: float, preserve: str = "mask") -> torch.Tensor:
        config = settings(preserve, self_replace_steps=share, preserve_until=1e-9)
        found = edit(model, IMAGES, PROMPTS, TARGETS, config, objects=Objects(masks=masks))
        return torch.cat(found.edits)

    torch.testing.assert_close(edits(torch.zeros_like(MASKS), 1.0), edits(torch.zeros_like(MASKS), 0.0))
    # One step is blended whatever the share is, so a full mask is compared over the steps after it.
    full = torch.ones_like(MASKS)
    one_step = {"num_steps": 4, "strength": 0.25}
    changed = settings("mask", self_replace_steps=1.0, **one_step)
    kept = edit(model, IMAGES, PROMPTS, TARGETS, changed, objects=Objects(masks=full))
    half = edit(model, IMAGES, PROMPTS, TARGETS, changed, objects=Objects(masks=full / 2))
    torch.testing.assert_close(kept.edits[0][0], kept.round_trip[0], rtol=0, atol=1e-4)
    assert (half.edits[0][0] - kept.round_trip[0]).abs().max() > 1e-4


@pytest.mark.parametrize("family", variants(("sd", "sdxl", "sd3", "flux dev"), kept=["sd"]))
@pytest.mark.parametrize(
    ("mode", "inversion_guidance_scale", "replaced"),
    variants(
        [
            ("attention", 1.0, 0.0),
            ("attention", 1.5, 0.0),
            ("attention", 1.5, 1.0),
            ("difference", 1.0, 0.0),
            ("mask", 1.0, 0.0),
            ("none", 1.0, 0.7),
        ],
        kept=[("attention", 1.5, 1.0), ("mask", 1.0, 0.0)],
    ),
)
def test_an_edit_does_not_depend_on_what_shares_its_batch(
    family: str, mode: str, inversion_guidance_scale: float, replaced: float
) -> None:
    model = load(family)
    model.rows = 2
    config = settings(
        mode,
        inversion_guidance_scale=inversion_guidance_scale,
        self_replace_steps=replaced,
        cross_replace_steps=replaced if family in ("sd", "sdxl") else 0.0,
        stop=Stop(max_steps=4, tolerance=3e-3),
    )
    together = edited(model, config)
    for index in ([0], [1], [2, 1], [1, 2, 0]):
        found = edited(model, config, index)
        for place, i in enumerate(index):
            assert torch.equal(found.edits[place], together.edits[i])
            assert torch.equal(found.reconstruction[place], together.reconstruction[i])


@pytest.mark.parametrize("family", variants(("sd", "sd3", "flux dev"), kept=("sd", "flux dev")))
def test_masks_and_attention_add_no_evaluation_and_difference_one_for_each_image_and_each_edit(family: str) -> None:
    model = load(family)
    rows = [0]
    model.network.register_forward_pre_hook(
        lambda _, given, named: rows.append(len(given[0] if given else named["hidden_states"])), with_kwargs=True
    )

    def asked(mode: str, replaced: float = 0.0) -> int:
        before = sum(rows)
        edited(model, settings(mode, self_replace_steps=replaced))
        return sum(rows) - before

    plain = asked("none")
    assert plain > 0
    assert {mode: asked(mode) - plain for mode in MODES} == {"attention": 0, "mask": 0, "difference": 3 + 3}
    assert asked("mask", 0.7) - plain == 3 * 2  # of the three sources, for the share of three steps


@pytest.mark.parametrize("solver", variants(("rnri", "newton_krylov"), kept=["rnri"]))
def test_attention_is_gathered_under_solvers_that_take_derivatives(solver: str) -> None:
    model = load("sd")
    plain, found = (edited(model, settings(mode, solver={"name": solver})) for mode in ("none", "attention"))
    assert torch.equal(found.reconstruction, plain.reconstruction)
    assert found.evaluations == plain.evaluations
    assert not torch.equal(found.edits[0], plain.edits[0])


def test_samplers_that_add_noise_are_blended_with_it() -> None:
    model = load("sd")
    config = settings("mask", sampler="euler_ancestral", preserve_until=1.0)
    found = edit(
        model, IMAGES, PROMPTS, TARGETS, config, seeds=[1, 2, 3], objects=Objects(masks=torch.ones(3, 1, 16, 24))
    )
    assert torch.equal(found.edits[0], found.round_trip[:1].expand(2, -1, -1, -1))
