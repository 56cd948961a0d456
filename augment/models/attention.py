"""How much each latent position attends to a word, read from the network's own calls while something else runs them.

A layer's processor is put behind one that looks at the same queries and keys (diffusers' attention-processor
interface), so predictions stay what they are, bit for bit, and no call of the network is added.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd import forward_ad

from augment.diffusion.denoiser import Predict

# (attn, image [n, N, D], text [n, L, D'], *cosines and sines of the positions, where the network has them) -> queries
# of the positions, keys of all that they attend to, [n, heads, ..., d] each, place of the first token among the keys.
QueriesAndKeys = Callable[..., tuple[Tensor, Tensor, int]]
COARSE = 32 * 32  # positions of a layer; finer ones see texture. Prompt-to-Prompt takes its layers of 16 x 16


class Observer(Protocol):
    """What looks into a denoiser's calls, or changes them: it learns from conditions of its own whose row is whose."""

    @property
    def conditions(self) -> tuple[Tensor, ...]:
        """Return what a denoiser is to hand to `around` in front of its own conditions, per sample."""

    @property
    def no_conditions(self) -> tuple[Tensor, ...]:
        """Return the same for rows without a prompt."""

    def around(self, predict: Predict) -> Predict:
        """Return `predict`, observed: (z, t, *conditions of the observer, *its own conditions) -> eps."""


def as_called(timestep: float) -> float:
    """Return a timestep as a network's call has it, in float32."""
    return float(torch.tensor(timestep, dtype=torch.float32))


class AttentionWatch:
    """Gather the attention to one word per sample, over all layers that see the text (DAAM, Tang et al. 2023).

    In each layer the softmax of Q K^T over all keys is averaged over the word's tokens and over the heads. Layers of at
    most `COARSE` positions count, or all where none is so coarse, each enlarged to the latents' grid. Of the calls at
    one timestep a sample's last one counts, so every step of the schedule counts once.

    Rows that fill up a call, the unconditional half of guidance and forward-mode derivatives are not gathered.

    Args:
        word_tokens: for each sample the weight of each token of its prompt: 1 / n for the n tokens of the word, all 0
            for a sample without one.
    """

    def __init__(self, word_tokens: Float[Tensor, "B L"]) -> None:
        self._word_tokens = word_tokens
        self._owners = torch.arange(len(word_tokens), device=word_tokens.device)
        self._maps: dict[float, Tensor] = {}  # timestep -> [B, 1, h, w]
        self._wanted: Tensor | None = None  # word tokens of the rows of the call in progress
        self._layers: list[Tensor] = []  # of the call in progress, [rows, positions] each

    @property
    def conditions(self) -> tuple[Tensor, ...]:
        """Return what a denoiser is to hand to `around` in front of its own conditions, per sample."""
        return self._owners, self._word_tokens

    @property
    def no_conditions(self) -> tuple[Tensor, ...]:
        """Return the same for rows that are not gathered."""
        return torch.full_like(self._owners, -1), torch.zeros_like(self._word_tokens)

    @property
    def found(self) -> Bool[Tensor, " B"]:
        """Return which samples have a word to look for."""
        return self._word_tokens.any(dim=1)

    def maps(self, timesteps: Sequence[float] | None = None) -> Float[Tensor, "B 1 h w"]:
        """Return the mean over the timesteps, float32: the share of attention that goes to a token of the word.

        Args:
            timesteps: those that count; None: all at which the network was called.
        """
        chosen = self._maps if timesteps is None else {as_called(t) for t in timesteps}
        return torch.stack([found for timestep, found in self._maps.items() if timestep in chosen]).mean(dim=0)

    def around(self, predict: Predict) -> Predict:
        """Return `predict`, gathered: (z, t, *conditions of the watch, *its own conditions) -> eps."""

        def watched(z: Tensor, t: Tensor, owners: Tensor, word_tokens: Tensor, *conditions: Tensor) -> Tensor:
            if forward_ad.unpack_dual(z).tangent is not None:
                return predict(z, t, *conditions)
            self._wanted, self._layers = word_tokens, []
            try:
                eps = predict(z, t, *conditions)
                self._add(owners, float(t[0]), z.shape[2], z.shape[3])
            finally:
                self._wanted, self._layers = None, []
            return eps

        return watched

    @property
    def is_gathering(self) -> bool:
        """Return whether a call is in progress whose layers are to be looked at."""
        return self._wanted is not None

    def look(self, query: Float[Tensor, "n heads N d"], key: Float[Tensor, "n heads K d"], first: int) -> None:
        """Take in one layer of the call in progress.

        Args:
            query: of the image's positions.
            key: of all that they attend to.
            first: place of the text's first token among the keys.
        """
        assert self._wanted is not None
        self._layers.append(attention_to(query, key, self._wanted, first))

    def _add(self, owners: Tensor, timestep: float, height: int, width: int) -> None:
        coarse = [layer for layer in self._layers if layer.shape[1] <= COARSE] or self._layers
        grids = [layer.view(-1, 1, *grid_of(layer.shape[1], height, width)) for layer in coarse]
        size = (height, width)
        found = torch.stack([F.interpolate(g, size=size, mode="bilinear", align_corners=False) for g in grids])
        own = owners >= 0
        own[1:] &= owners[1:] != owners[:-1]  # rows that fill up a call repeat the last one
        if timestep not in self._maps:
            self._maps[timestep] = torch.zeros(len(self._owners), 1, *size, device=found.device)
        self._maps[timestep][owners[own]] = found.mean(dim=0)[own]


def attention_to(
    query: Float[Tensor, "n heads N d"],
    key: Float[Tensor, "n heads K d"],
    word_tokens: Float[Tensor, "n L"],
    first: int,
) -> Float[Tensor, "n N"]:
    """Return softmax(Q K^T / sqrt(d)) times the weights of the keys, the mean over the heads, float32.

    The weights stand where attention has its values, so no matrix of all queries and keys is kept.

    Args:
        word_tokens: weights of the keys from `first` on; all others are 0.
    """
    weights = F.pad(word_tokens, (first, key.shape[2] - first - word_tokens.shape[1])).to(query.dtype)
    # One column would do, but fast kernels want a head's width, and numbers side by side.
    values = weights[:, None, :, None].expand_as(key).contiguous()
    return F.scaled_dot_product_attention(query, key, values)[..., 0].float().mean(dim=1)


def grid_of(positions: int, height: int, width: int) -> tuple[int, int]:
    """Return the sides of a layer's grid: those of the latents, halved until they have that many positions."""
    while height * width > positions:
        height, width = (height + 1) // 2, (width + 1) // 2
    assert height * width == positions
    return height, width


class WatchedProcessor:
    """Look at a layer's queries and keys, then leave the work to the layer's own processor.

    Args:
        watch: what looks.
        processor: the layer's own.
        queries_and_keys: of a layer of the family.
    """

    def __init__(self, watch: AttentionWatch, processor: Callable[..., Any], queries_and_keys: QueriesAndKeys) -> None:
        self._watch, self._processor, self._queries_and_keys = watch, processor, queries_and_keys

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Return what the layer's own processor does, whose arguments these are."""
        if encoder_hidden_states is not None and self._watch.is_gathering:
            with torch.no_grad():
                self._watch.look(*self._queries_and_keys(attn, hidden_states, encoder_hidden_states, *args))
        return self._processor(attn, hidden_states, encoder_hidden_states, attention_mask, *args, **kwargs)
