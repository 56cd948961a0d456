"""Attention to words, read from the real networks at toy size, against softmax(Q K^T) by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention
from torch import Tensor

from augment.models.attention import attention_to, grid_of
from augment.models.flux import Flux
from augment.models.sd3 import T5_TOKENS, StableDiffusion3
from augment.models.sdxl import StableDiffusionXL
from augment.models.stable_diffusion import StableDiffusion
from augment.models.word_tokens import places_of, word_tokens
from tests.models.checks import PROMPTS, noise
from tests.pipelines import (
    WORDS,
    build_tokenizer,
    flux,
    latent_consistency,
    stable_diffusion,
    stable_diffusion_3,
    stable_diffusion_xl,
    t5_tokenizer,
)

NOUNS = ["fox", "owl"]


def softmax_by_hand(query: Tensor, key: Tensor) -> Tensor:
    """[n, heads, N, d] and [n, heads, K, d] -> [n, heads, N, K], one query at a time."""
    scores = torch.einsum("nhqd,nhkd->nhqk", query.double(), key.double()) / math.sqrt(query.shape[-1])
    return scores.exp() / scores.exp().sum(dim=-1, keepdim=True)


class Heard:
    """The inputs of attention layers, by forward hooks: nothing of the code under test."""

    def __init__(self, network: Any, names: str) -> None:
        self.layers: list[tuple[Any, dict[str, Any]]] = []
        for name, module in network.named_modules():
            if name.endswith(names):
                module.register_forward_pre_hook(self._hear, with_kwargs=True)

    def _hear(self, module: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        values = {"hidden_states": given[0], **named} if given else named
        self.layers.append((module, values))


def heads(attn: Attention, x: Tensor) -> Tensor:
    return x.view(len(x), -1, attn.heads, x.shape[-1] // attn.heads).transpose(1, 2)


@pytest.mark.parametrize("pipeline", [stable_diffusion, latent_consistency])
def test_a_unet_attends_to_the_words_as_by_hand(pipeline):
    model = StableDiffusion(pipeline(), model_id="toy", revision="")
    z, t, embeds = noise(), torch.full((2,), 500.0), model.embed(PROMPTS)
    heard = Heard(model.network, "attn2")
    plain = model.denoiser(embeds)(z, t)
    with model.watching(PROMPTS, NOUNS) as watch:
        layers, heard.layers = heard.layers, []
        assert torch.equal(model.denoiser(embeds, watch=watch)(z, t), plain)
    places = [[5], [2]]  # <start> a picture of a fox; <start> an owl, where `an` is two tokens
    places[1] = [model.tokenizer(PROMPTS[1]).input_ids.index(model.tokenizer.get_vocab()["owl</w>"])]
    maps = []
    for attn, given in layers:
        query, key = attn.to_q(given["hidden_states"]), attn.to_k(given["encoder_hidden_states"])
        found = softmax_by_hand(heads(attn, query), heads(attn, key)).mean(dim=1)  # over the heads: [2, N, L]
        side = math.isqrt(found.shape[1])
        of_word = torch.stack([found[i][:, places[i]].mean(dim=1) for i in range(2)]).view(2, 1, side, side)
        maps.append(F.interpolate(of_word, size=(8, 8), mode="bilinear", align_corners=False))
    assert len(maps) == 4 and {attn.heads for attn, _ in layers} == {2}
    torch.testing.assert_close(watch.maps(), torch.stack(maps).mean(dim=0).float(), rtol=1e-4, atol=1e-6)


def test_stable_diffusion_3_attends_to_the_words_among_positions_and_text():
    model = StableDiffusion3(stable_diffusion_3(), model_id="toy", revision="")
    z, t, embeds = noise(8), torch.full((2,), 500.0), model.embed(PROMPTS)
    heard = Heard(model.network, ".attn")
    with model.watching(PROMPTS, NOUNS) as watch:
        model.denoiser(embeds, watch=watch)(z, t)
    weights = words_of(model, PROMPTS, NOUNS)
    assert weights.shape == (2, 16 + T5_TOKENS) and weights[0].nonzero().flatten().tolist() == [5, 16 + 4]
    maps = []
    for attn, given in heard.layers:
        image, text = given["hidden_states"], given["encoder_hidden_states"]
        key = torch.cat([heads(attn, attn.to_k(image)), heads(attn, attn.add_k_proj(text))], dim=2)
        found = softmax_by_hand(heads(attn, attn.to_q(image)), key).mean(dim=1)[:, :, 16:].float()  # of 16 positions
        maps.append((found @ weights[:, :, None]).view(2, 1, 4, 4))
    expected = F.interpolate(torch.stack(maps).mean(dim=0), size=(8, 8), mode="bilinear", align_corners=False)
    assert len(maps) == 2
    torch.testing.assert_close(watch.maps(), expected, rtol=1e-4, atol=1e-7)


def test_flux_attends_to_the_words_with_its_rotary_positions():
    model = Flux(flux(guidance_embeds=True, use_dynamic_shifting=False), model_id="toy", revision="")
    z, t, embeds = noise(8), torch.full((2,), 500.0), model.embed(PROMPTS)
    heard = Heard(model.network.transformer_blocks, ".attn")
    plain = model.denoiser(embeds, 2.0)(z, t)
    heard.layers = []
    with model.watching(PROMPTS, NOUNS) as watch:
        assert torch.equal(model.denoiser(embeds, 2.0, watch)(z, t), plain)
    ((attn, given),) = heard.layers
    image, text = given["hidden_states"], given["encoder_hidden_states"]
    cos, sin = given["image_rotary_emb"]  # [text and positions, d]
    query = rotated(attn.norm_q(heads(attn, attn.to_q(image))), cos[-16:], sin[-16:])
    key = [attn.norm_added_k(heads(attn, attn.add_k_proj(text))), attn.norm_k(heads(attn, attn.to_k(image)))]
    found = softmax_by_hand(query, rotated(torch.cat(key, dim=2), cos, sin)).mean(dim=1)
    weights = words_of(model, PROMPTS, NOUNS)
    maps = (found[:, :, : weights.shape[1]].float() @ weights[:, :, None]).view(2, 1, 4, 4)
    expected = F.interpolate(maps, size=(8, 8), mode="bilinear", align_corners=False)
    torch.testing.assert_close(watch.maps(), expected, rtol=1e-4, atol=1e-7)


def words_of(model: Any, prompts: list[str], words: list[str]) -> Tensor:
    with model.watching(prompts, words) as watch:
        return watch.conditions[1]


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Su et al. 2021, eq. 34, on neighbouring pairs; [n, heads, N, d]."""
    turned = torch.stack([-x[..., 1::2], x[..., ::2]], dim=-1).flatten(3)
    return x * cos + turned * sin


def test_each_step_counts_once_with_its_last_call_and_rows_that_fill_up_do_not():
    model = StableDiffusion(stable_diffusion(), model_id="toy", revision="")
    embeds, times = model.embed(PROMPTS), (torch.full((2,), 500.0), torch.full((2,), 200.0))

    def maps(calls, rows=None, scale=1.0):
        model.rows = rows
        with model.watching(PROMPTS, NOUNS) as watch:
            denoiser = model.denoiser(embeds, scale, watch)
            for seed, t, index in calls:
                z = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(seed))
                denoiser.select(torch.tensor(index))(z[index], t[index])
        model.rows = None
        return watch.maps()

    both = [0, 1]
    first, second, third = (maps([(seed, times[seed == 3], both)]) for seed in (1, 2, 3))
    assert (first - second).abs().max() > 1e-6
    torch.testing.assert_close(maps([(1, times[0], both), (2, times[0], both)]), second)
    mixed = maps([(1, times[0], both), (2, times[0], [1]), (3, times[1], both)])
    torch.testing.assert_close(mixed, (torch.stack([first[0], second[1]]) + third) / 2)
    torch.testing.assert_close(maps([(1, times[0], both)], rows=3, scale=2.0), first)
    torch.testing.assert_close(maps([(1, times[0], both)], rows=5), first)
    torch.testing.assert_close(maps([(1, times[0], both)], rows=1), first)


def test_the_network_is_as_it_was_also_after_an_exception():
    model = StableDiffusionXL(stable_diffusion_xl(), model_id="toy", revision="")
    before = model.network.attn_processors
    embeds = model.embed(PROMPTS)
    with model.watching(PROMPTS, NOUNS) as watch:
        assert set(map(type, model.network.attn_processors.values())) != set(map(type, before.values()))
        with pytest.raises(RuntimeError, match="4 channels"):
            model.denoiser(embeds, watch=watch)(torch.zeros(2, 3, 8, 8), torch.zeros(2))
        assert not watch.is_gathering
    assert model.network.attn_processors == before
    with pytest.raises(KeyError, match="inside"), model.watching(PROMPTS, NOUNS):
        raise KeyError("inside")
    assert model.network.attn_processors == before


def test_attention_to_weights_is_their_mean_under_the_softmax():
    generator = torch.Generator().manual_seed(0)
    query, key = torch.randn(2, 3, 5, 4, generator=generator), torch.randn(2, 3, 7, 4, generator=generator)
    weights = torch.rand(2, 2, generator=generator)
    found = attention_to(query, key, weights, 4)
    expected = (softmax_by_hand(query, key)[..., 4:6] * weights[:, None, None]).sum(dim=-1).mean(dim=1)
    torch.testing.assert_close(found, expected.float())
    torch.testing.assert_close(attention_to(query, key, torch.ones(2, 7), 0), torch.ones(2, 5))


@pytest.mark.parametrize(
    ("positions", "latents", "grid"),
    [(64, (8, 8), (8, 8)), (16, (8, 8), (4, 4)), (24, (8, 12), (4, 6)), (12, (9, 11), (3, 3)), (30, (9, 11), (5, 6))],
)
def test_the_grid_of_a_layer(positions, latents, grid):
    if grid[0] * grid[1] != positions:
        with pytest.raises(AssertionError):
            grid_of(positions, *latents)
    else:
        assert grid_of(positions, *latents) == grid


@pytest.mark.parametrize("tokenizer", [build_tokenizer(WORDS), t5_tokenizer()], ids=["clip", "t5"])
def test_the_tokens_of_a_word(tokenizer):
    prompts = ["a picture of a fox", "fox of fox", "a fox", "foxes", "a", ""]
    words = ["fox", "fox", "a fox", "fox", "", "fox"]
    found = word_tokens(tokenizer, prompts, words, 8)
    first = 1 if tokenizer.bos_token_id is not None else 0
    places = [row.nonzero().flatten().tolist() for row in found]
    expected = [[4], [0, 2], [0, 1], [], [], []]
    assert places == [[first + place for place in row] for row in expected]


def test_a_word_that_is_cut_off_is_not_found():
    tokenizer = build_tokenizer(WORDS)
    assert word_tokens(tokenizer, ["a picture of a fox"], ["fox"], 6).sum() == 0  # the last token ends the text
    assert word_tokens(tokenizer, ["a picture of a fox"], ["fox"], 7).sum() == 1


def test_places_of_whole_words_in_capitals_or_not():
    assert places_of("fox", "A Fox, a fox; foxes, a fox's") == [(2, 5), (9, 12), (23, 26)]
    assert places_of("T-shirt (red)", "a t-shirt (red).") == [(2, 15)]
    assert places_of("fire engine", "fire engines and a fire engine") == [(19, 30)]
    assert places_of("", "a") == places_of("|", "a") == []
    assert places_of("something|scene", "a scene, something and scenes") == [(2, 7), (9, 18)]
