"""Prompts through the text encoders that several families share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor


def token_ids(tokenizer: Any, prompts: Sequence[str], length: int) -> Int[Tensor, "B L"]:
    """Return token ids, padded and cut to `length` tokens."""
    batch = tokenizer(list(prompts), padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    return batch.input_ids


def prompt_length(tokenizer: Any, encoder: Any) -> int:
    """Return how many tokens of a prompt a CLIP text encoder reads.

    A tokenizer that was saved without its settings knows no limit; the encoder's positions are one.

    Raises:
        ValueError: if the tokenizer's limit is no number of tokens.
    """
    limit = tokenizer.model_max_length
    if not isinstance(limit, int) or limit < 2:  # the first and the last token are no words
        raise ValueError(f"model_max_length of its tokenizer is {limit!r}, expected a whole number of tokens")
    return min(limit, encoder.config.max_position_embeddings)


def last_hidden(tokenizer: Any, encoder: Any, prompts: Sequence[str], length: int) -> Float[Tensor, "B L D"]:
    """Return the last layer, one vector per token: Stable Diffusion 1 and 2 read CLIP there, flow models T5."""
    return encoder(token_ids(tokenizer, prompts, length).to(encoder.device)).last_hidden_state


def penultimate_hidden(
    tokenizer: Any, encoder: Any, prompts: Sequence[str], length: int
) -> tuple[Float[Tensor, "B L D"], Float[Tensor, "B P"] | None]:
    """Return the last layer but one of a CLIP text encoder (Podell et al. 2023, table 1), and the projected embedding.

    The projected embedding is None for an encoder without projection.
    """
    outputs = encoder(token_ids(tokenizer, prompts, length).to(encoder.device), output_hidden_states=True)
    return outputs.hidden_states[-2], outputs.get("text_embeds")
