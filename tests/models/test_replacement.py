"""Prompt-to-Prompt against a straight transcription: maps are built, exchanged by token, and multiplied."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from augment.editing import EditConfig, edit
from augment.editing.inverted import checked_schedule, full_schedule, invert_latents
from augment.errors import ModelError
from augment.inversion import Stop
from augment.models.attention import COARSE
from augment.models.flux import Flux
from augment.models.random_weights import SIZES
from augment.models.same_words import common_subsequence, same_words
from augment.models.sd3 import StableDiffusion3
from augment.models.sdxl import StableDiffusionXL
from augment.models.stable_diffusion import StableDiffusion
from tests.models.checks import noise, pictures
from tests.pipelines import flux, stable_diffusion, stable_diffusion_3, stable_diffusion_xl
from tests.variants import variants

SOURCES = ["a picture of a fox", "an owl"]
TARGETS = [["a picture of a fox on snow", "snow"], ["a fox of an owl"]]
OWNERS = [0, 0, 1]
UNETS = {"sd": (StableDiffusion, stable_diffusion), "sdxl": (StableDiffusionXL, stable_diffusion_xl)}


def aligned(x: list[int], y: list[int]) -> dict[int, int]:
    """Needleman-Wunsch as in the paper's code, on prompts without fillers: place in y -> place in x."""
    score = [[0] * (len(y) + 1) for _ in range(len(x) + 1)]
    trace = [[0] * (len(y) + 1) for _ in range(len(x) + 1)]
    for j in range(1, len(y) + 1):
        trace[0][j] = 1
    for i in range(1, len(x) + 1):
        trace[i][0] = 2
    trace[0][0] = 4
    for i in range(1, len(x) + 1):
        for j in range(1, len(y) + 1):
            left, up = score[i][j - 1] + 0, score[i - 1][j] + 0
            diagonal = score[i - 1][j - 1] + (1 if x[i - 1] == y[j - 1] else -1)
            score[i][j] = max(left, up, diagonal)
            trace[i][j] = 1 if score[i][j] == left else 2 if score[i][j] == up else 3
    found, i, j = {}, len(x), len(y)
    while trace[i][j] != 4:
        if trace[i][j] == 3:
            i, j = i - 1, j - 1
            found[j] = i
        elif trace[i][j] == 1:
            j -= 1
        else:
            i -= 1
    return found


class Maps:
    """An attention processor for rows [without prompt..., sources..., edits...], which builds every map."""

    def __init__(self, owners: list[int], num_sources: int, mapper: Tensor, alphas: Tensor) -> None:
        self.owners, self.num_sources, self.mapper, self.alphas = owners, num_sources, mapper, alphas
        self.replace_self = self.replace_cross = False

    def __call__(
        self, attn: Any, x: Tensor, encoder_hidden_states: Tensor | None = None, mask: Any = None, **_: Any
    ) -> Tensor:
        context = x if encoder_hidden_states is None else encoder_hidden_states
        q, k, v = (
            layer(y).view(len(x), -1, attn.heads, x.shape[2] // attn.heads).transpose(1, 2)
            for layer, y in ((attn.to_q, x), (attn.to_k, context), (attn.to_v, context))
        )
        maps = (q @ k.transpose(2, 3) / math.sqrt(q.shape[3])).softmax(dim=-1)
        count = len(self.owners)
        without, base, edits = maps.split([count, self.num_sources, count])
        of_source = base[self.owners]
        if encoder_hidden_states is None:
            if self.replace_self and x.shape[1] <= 32 * 32:
                edits = of_source
        elif self.replace_cross:
            index = self.mapper[:, None, None].expand(-1, *of_source.shape[1:3], -1)
            alphas = self.alphas[:, None, None]
            edits = of_source.gather(3, index) * alphas + edits * (1 - alphas)
        out = torch.cat([without, base, edits]) @ v
        return attn.to_out[0](out.transpose(1, 2).reshape(x.shape))


def transcription(model: Any, config: EditConfig) -> Tensor:
    """The latents of the edits of `pictures()`, all in one batch beside their sources."""
    full = full_schedule(model, config, (16, 24))
    schedule = full.last_part(config.strength)
    source = model.embed(SOURCES)
    inversion = invert_latents(
        model, model.encode(pictures()), source, [], config, full, trajectory_dtype=torch.float32
    )
    flat = [prompt for prompts in TARGETS for prompt in prompts]
    length = source.tokens.shape[1]
    mapper, alphas = torch.zeros(3, length, dtype=torch.int64), torch.zeros(3, length)
    for row, (owner, prompt) in enumerate(zip(OWNERS, flat, strict=True)):
        x, y = (model._token_parts()[0][0](text).input_ids for text in (SOURCES[owner], prompt))
        for j in range(length):
            place = aligned(x, y).get(j, -1) if j < len(y) else j
            mapper[row, j], alphas[row, j] = max(place, 0), float(place >= 0)
    maps = Maps(OWNERS, 2, mapper, alphas)
    own = dict(model.network.attn_processors)
    model.network.set_attn_processor(maps)
    empty = model._unconditional()
    three = [empty.select([0, 0, 0]), source, model.embed(flat)]
    conditions = [torch.cat([part.tensors[i] for part in three]) for i in range(len(source.tensors))]
    starts = [inversion.latents, *inversion.trajectory]
    z = inversion.latents[OWNERS]
    for i, step in enumerate(schedule.steps):
        maps.replace_self = i < int(config.self_replace_steps * len(schedule))
        maps.replace_cross = i < int(config.cross_replace_steps * len(schedule))
        rows = torch.cat([z, starts[i], z])
        eps = model._predict_eps(rows, torch.full((8,), float(step.timestep)), *conditions)
        eps = eps[:3] + config.guidance_scale * (eps[5:] - eps[:3])
        z = step.apply(z, eps, None)
    model.network.set_attn_processor(own)
    return model.decode(z)


@pytest.mark.parametrize(
    ("of_self", "of_cross", "family"),
    variants(
        [(*shares, family) for shares in ((0.5, 0.0), (0.0, 0.75), (0.25, 1.0), (1.0, 1.0)) for family in UNETS],
        kept=[*((*shares, "sd") for shares in ((0.5, 0.0), (0.0, 0.75), (0.25, 1.0))), (0.25, 1.0, "sdxl")],
    ),
)
def test_edits_are_those_of_a_transcription_that_builds_the_maps(of_self, of_cross, family):
    wrap, pipeline = UNETS[family]
    model = wrap(pipeline(), model_id="toy", revision="")
    config = EditConfig(
        num_steps=4,
        strength=1.0,
        guidance_scale=2.0,
        self_replace_steps=of_self,
        cross_replace_steps=of_cross,
        stop=Stop(max_steps=2, tolerance=0.0),
    )
    found = torch.cat(edit(model, pictures(), SOURCES, TARGETS, config).edits)
    plain = config.model_copy(update={"self_replace_steps": 0.0, "cross_replace_steps": 0.0})
    without = torch.cat(edit(model, pictures(), SOURCES, TARGETS, plain).edits)
    expected = transcription(model, config)
    assert (expected - without).abs().amax(dim=(1, 2, 3)).min() > 1e-3  # it is no small change
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("family", [(StableDiffusion3, stable_diffusion_3), (Flux, flux)])
def test_joint_attention_takes_the_queries_and_keys_of_the_source_for_the_image_alone(family):
    pipeline = family[1](guidance_embeds=False, use_dynamic_shifting=False) if family[0] is Flux else family[1]()
    model = family[0](pipeline, model_id="toy", revision="")
    z, of_source, t = noise(8), noise(8).flip(2), torch.full((2,), 400.0)
    source, target = model.embed(SOURCES), model.embed(["snow", "a fox"])
    layers = [m for name, m in model.network.named_modules() if name.endswith(".attn") and "single" not in name]
    names = [(layer, side) for layer in layers for side in ("to_q", "to_k")]
    plain = model.denoiser(target)(z, t)
    saved: list[Tensor] = []
    hooks = [getattr(m, side).register_forward_hook(lambda _, __, out: saved.append(out)) for m, side in names]
    model.denoiser(source)(of_source, t)
    for hook in hooks:
        hook.remove()
    given = iter(list(saved))
    hooks = [getattr(m, side).register_forward_hook(lambda _, __, out: next(given)) for m, side in names]
    expected = model.denoiser(target)(z, t)
    for hook in hooks:
        hook.remove()
    with model.replacing(SOURCES, ["snow", "a fox"], torch.arange(2), words=False) as replacement:
        of_sources = model.denoiser(source, watch=replacement.of_sources)
        of_edits = model.denoiser(target, watch=replacement.of_edits)
        assert torch.equal(of_edits(z, t), plain)  # outside of `replacing` nothing is
        with replacement.replacing(self_attention=True, cross_attention=False):
            of_sources(of_source, t)
            found = of_edits(z, t)
    assert (expected - plain).abs().max() > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(model.denoiser(target)(z, t), plain)
    config = EditConfig(num_steps=2, strength=1.0, cross_replace_steps=0.5)
    with pytest.raises(ModelError, match=r"editing\.cross_replace_steps 0\.5: 'toy' attends to text and image at once"):
        checked_schedule(model, config, "editing")
    with pytest.raises(ValueError, match="'toy' attends to text and image at once"):
        edit(model, pictures(), SOURCES, TARGETS, config)


def test_a_unets_layers_of_many_positions_keep_their_own_maps():
    counts = exchanged_positions(StableDiffusion(stable_diffusion(), model_id="toy", revision=""), channels=4)
    assert counts == {COARSE}  # not those of four times as many


def test_all_layers_of_a_transformer_are_replaced_however_many_positions_they_have():
    pipeline = flux(guidance_embeds=False, use_dynamic_shifting=False)
    side = 4 * math.isqrt(COARSE)  # of latents, of which a patch has two by two
    assert exchanged_positions(Flux(pipeline, model_id="toy", revision=""), channels=8, side=side) == {4 * COARSE}


def exchanged_positions(model: Any, channels: int, side: int = 2 * math.isqrt(COARSE)) -> set[int]:
    """The positions of the layers that are replaced on latents of that size."""
    z, t = noise(channels, side, side)[:1], torch.full((1,), 400.0)
    source, target = model.embed(["owl"]), model.embed(["snow"])
    counts: list[int] = []
    with model.replacing(["owl"], ["snow"], torch.arange(1), words=False) as replacement:
        exchanged = replacement.exchanged
        replacement.exchanged = lambda name, found: counts.append(found.shape[1]) or exchanged(name, found)
        with replacement.replacing(self_attention=True, cross_attention=False):
            model.denoiser(source, watch=replacement.of_sources)(z, t)
            model.denoiser(target, watch=replacement.of_edits)(z, t)
    return set(counts)


@pytest.mark.parametrize(
    ("source", "edit", "expected"),
    [
        ([1, 5, 6, 7, 2], [1, 5, 8, 7, 2], {0: 0, 1: 1, 3: 3, 4: 4}),
        ([1, 5, 2], [1, 9, 9, 5, 9, 2], {0: 0, 3: 1, 5: 2}),
        ([1, 4, 4, 5, 4, 2], [1, 4, 6, 4, 2], None),
        ([1, 2], [1, 2], {0: 0, 1: 1}),
        ([1, 7, 8, 2], [1, 8, 7, 2], None),
    ],
)
def test_tokens_are_aligned_as_by_needleman_and_wunsch(source, edit, expected):
    assert common_subsequence(source, edit) == aligned(source, edit)
    assert expected is None or common_subsequence(source, edit) == expected


def test_random_prompts_are_aligned_as_by_needleman_and_wunsch():
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        x, y = (torch.randint(0, 4, (int(n),), generator=generator).tolist() for n in torch.randint(1, 9, (2,)))
        assert common_subsequence(x, y) == aligned(x, y)


def test_fillers_stand_for_those_in_the_same_place():
    words = same_words([[1, 5, 2]], [[1, 2]], 5)
    assert words.shared.tolist() == [[True] * 5]
    assert words.places.tolist() == [[0, 2, 2, 3, 4]]


def test_the_memory_that_docs_state_is_what_the_layers_project() -> None:
    """Queries and keys of one image, Stable Diffusion 1.5 at 512 x 512 in 16 bits: 20 MB (docs/data.md)."""
    held = [0]

    def count(module: Any, given: Any, found: Tensor) -> None:
        held[0] += 2 * found[0].numel() * (found.shape[1] <= COARSE)

    with torch.device("meta"):
        network = UNet2DConditionModel(**SIZES["sd15"].unet)
        for name, layer in network.named_modules():
            if StableDiffusion.self_attention.search(name):
                layer.to_q.register_forward_hook(count)
                layer.to_k.register_forward_hook(count)
        network(torch.zeros(1, 4, 64, 64), torch.ones(1), torch.zeros(1, 77, 768))
    assert round(held[0] / 1e6) == 20
