"""Prompt-to-Prompt: edits attend the way their source does (Hertz et al. 2023, section 3.2).

With maps M = softmax(Q K^T / sqrt(d)) of the source (s) and the edit (t), a layer that is replaced returns M_s V_t.
Cross-attention is replaced for the tokens that both prompts have ("refinement"):

    M[:, j] = M_s[:, A(j)] where the edit's token j is the source's token A(j),   M_t[:, j] where it is new

Self-attention is replaced as it is, or, which the paper does not have, only as far as a mask m of the object says, row
by row of the map, so that the object attends as it did and the scene is free:

    M[n] = m_n M_s[n] + (1 - m_n) M_t[n]

No map is stored or built: the source's queries and keys stand in for the edit's, whose values stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from augment.diffusion.denoiser import Predict
from augment.models.attention import QueriesAndKeys, grid_of
from augment.models.same_words import SameWords


class AttentionReplacement:
    """Replace the attention maps of edits by those of their sources, in the calls that `replacing` encloses.

    Args:
        owners: the source of each edit.
        num_sources: how many there are.
        words: which tokens edits share with their sources; without, cross-attention stays.
        masks: for each edit the share of its positions that attend to one another as in the source; None: all do.
        coarse: positions of the largest layer whose self-attention is replaced; None: of any. In the paper's code those
            of a UNet with more than 32 x 32 keep theirs: they hold texture, not layout.
    """

    def __init__(
        self,
        owners: Int[Tensor, " N"],
        num_sources: int,
        words: SameWords | None = None,
        masks: Float[Tensor, "N 1 h w"] | None = None,
        coarse: int | None = None,
    ) -> None:
        everything = torch.arange(num_sources, device=owners.device)
        self.of_sources = Rows(self, everything, None, None)
        self.of_edits = Rows(self, owners, words, masks)
        self.call: Call | None = None  # in progress, and to be replaced
        self.self_attention = self.cross_attention = False
        self._has_masks, self._num_sources, self._coarse = masks is not None, num_sources, coarse
        self._is_exchanging = False
        self._stored: dict[str, Tensor] = {}  # name of a projection -> what it gave for each source

    @contextmanager
    def replacing(self, *, self_attention: bool, cross_attention: bool) -> Iterator[None]:
        """Replace within the block: first all sources are to be predicted, then their edits, at the same timestep."""
        self.self_attention, self.cross_attention = self_attention, cross_attention
        try:
            yield
        finally:
            self.self_attention = self.cross_attention = False
            self._stored.clear()

    def hook(self, name: str) -> Callable[[Any, Any, Tensor], Tensor | None]:
        """Return a forward hook for the projection to queries, or to keys, of a layer that attends to itself."""

        def projected(module: Any, given: Any, found: Float[Tensor, "n N D"]) -> Tensor | None:
            return self.exchanged(name, found) if self._is_exchanging else None

        return projected

    def exchanged(self, name: str, found: Tensor) -> Tensor:
        """Return what a projection gives, rows of edits being those of their sources; a source's rows are kept."""
        assert self.call is not None
        owners = self.call.owners
        if self.call.is_source:
            if name not in self._stored:
                self._stored[name] = found.new_zeros(self._num_sources, *found.shape[1:])
            self._stored[name][owners[owners >= 0]] = found[owners >= 0]
            return found
        is_edit = (owners >= 0).view(-1, *[1] * (found.dim() - 1))
        return torch.where(is_edit, self._stored[name][owners.clamp_min(0)], found)

    def attended(self, layer: Callable[[], Any], positions: int) -> Any:
        """Return what a layer that attends to itself gives, replaced.

        Args:
            layer: runs it.
            positions: of the image in it.
        """
        is_fine = self._coarse is not None and positions > self._coarse
        if self.call is None or not self.self_attention or is_fine:
            return layer()
        own = layer() if self._has_masks and not self.call.is_source else None
        self._is_exchanging = True
        try:
            replaced = layer()
        finally:
            self._is_exchanging = False
        return replaced if own is None else self._mixed(replaced, own, positions)

    def _mixed(self, replaced: Any, own: Any, positions: int) -> Any:
        """Return the replaced outputs of the image's positions as far as the mask says; the text's are its own."""
        assert self.call is not None
        if isinstance(own, tuple):
            return (self._mixed(replaced[0], own[0], positions), *own[1:])
        masks = self.call.masks
        grid = grid_of(positions, masks.shape[2], masks.shape[3])
        share = F.interpolate(masks, size=grid, mode="area").flatten(1)[..., None]
        return torch.lerp(own, replaced, share.to(own.dtype))


@dataclass(frozen=True)
class Call:
    """What layers are told about the rows of a call: the source of each, -1 for rows without a prompt, which stay."""

    is_source: bool
    owners: Int[Tensor, " n"]
    words: SameWords
    masks: Float[Tensor, "n 1 h w"]


class Rows:
    """Tell a replacement which rows of a denoiser's calls are whose.

    Args:
        replacement: that is told.
        owners: the source of each sample.
        words, masks: of each edit, as `AttentionReplacement` has them; None for sources, and where there are none.
    """

    def __init__(
        self, replacement: AttentionReplacement, owners: Tensor, words: SameWords | None, masks: Tensor | None
    ) -> None:
        self._replacement = replacement
        nothing = torch.zeros(len(owners), 1, dtype=torch.int64, device=owners.device)
        words = words or SameWords(nothing, nothing.bool())
        masks = nothing[:, None, None, :].float() if masks is None else masks
        self.conditions: tuple[Tensor, ...] = (owners, words.places, words.shared, masks)
        self.no_conditions: tuple[Tensor, ...] = (
            torch.full_like(owners, -1),
            words.places,
            torch.zeros_like(words.shared),
            torch.zeros_like(masks),
        )

    def around(self, predict: Predict) -> Predict:
        """Return `predict` with the replacement at work: (z, t, *conditions of the rows, *its own) -> eps."""

        def replaced(
            z: Tensor, t: Tensor, owners: Tensor, places: Tensor, shared: Tensor, masks: Tensor, *own: Tensor
        ) -> Tensor:
            is_source = self is self._replacement.of_sources
            if bool((owners >= 0).any()):  # a call of rows without a prompt alone is left to its own maps
                self._replacement.call = Call(is_source, owners, SameWords(places, shared), masks)
            try:
                return predict(z, t, *own)
            finally:
                self._replacement.call = None

        return replaced


class ReplacedProcessor:
    """Run a layer by its own attention processor, with the maps that the replacement wants.

    Args:
        replacement: knows the rows.
        name: of the layer.
        processor: the layer's own.
        is_self_attention: whether positions of the image attend to one another in it, maybe beside the text.
        queries_and_keys: of the family's layers that see the text.
    """

    def __init__(
        self,
        replacement: AttentionReplacement,
        name: str,
        processor: Callable[..., Any],
        *,
        is_self_attention: bool,
        queries_and_keys: QueriesAndKeys,
    ) -> None:
        self._replacement, self._name, self._processor = replacement, name, processor
        self._is_self_attention, self._queries_and_keys = is_self_attention, queries_and_keys

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Return what the layer's own processor does, whose arguments these are, or the same with replaced maps."""

        def layer() -> Any:
            return self._processor(attn, hidden_states, encoder_hidden_states, *args, **kwargs)

        replacement = self._replacement
        if self._is_self_attention:
            return replacement.attended(layer, hidden_states.shape[1])
        if encoder_hidden_states is None or replacement.call is None or not replacement.cross_attention:
            return layer()
        query, key, _ = self._queries_and_keys(attn, hidden_states, encoder_hidden_states)
        source_query = replacement.exchanged(f"{self._name}.query", query)
        source_key = replacement.exchanged(f"{self._name}.key", key)
        if replacement.call.is_source:
            return layer()
        value = attn.to_v(encoder_hidden_states).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
        found = replaced_words((query, key), (source_query, source_key), value, replacement.call.words)
        return attn.to_out[1](attn.to_out[0](found.transpose(1, 2).flatten(2)))


def replaced_words(
    own: tuple[Tensor, Tensor], source: tuple[Tensor, Tensor], value: Float[Tensor, "n heads L d"], words: SameWords
) -> Float[Tensor, "n heads N d"]:
    """Return M V for the maps M of "refinement", as two attentions without a map.

        M V = M_s V_s + M_t V_n,   V_s[i] = the sum of V_t[j] over the shared j with A(j) = i,   V_n[j] = V_t[j] if new

    Args:
        own, source: queries and keys, [n, heads, N, d] and [n, heads, L, d].
        value: of the edit.
        words: of the same rows.
    """
    shared = words.shared[:, None, :, None]
    places = words.places[:, None, :, None].expand_as(value)
    moved = torch.zeros_like(value).scatter_add(2, places, torch.where(shared, value, 0.0))
    of_source = F.scaled_dot_product_attention(*source, moved)
    return of_source + F.scaled_dot_product_attention(*own, torch.where(shared, 0.0, value))
