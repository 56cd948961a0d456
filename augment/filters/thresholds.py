"""Thresholds over the scores of an edit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from augment.types import Verdict


class FilterConfig(BaseModel):
    """When an edit is good enough to train on. `null` switches a threshold off.

    Changing a threshold costs no GPU time: run `augment finalize` again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    max_psnr_gap: float | None = Field(
        default=4.0,
        ge=0,
        description="dB by which the reconstruction may fall behind the VAE round trip; more means a failed inversion",
    )
    min_label_probability: float | None = Field(
        default=0.5, ge=0, le=1, description="CLIP's zero-shot probability of the class word: is the label still true?"
    )
    min_text_alignment: float | None = Field(
        default=None, ge=-1, le=1, description="cosine of the edit with its prompt: did the edit happen?"
    )
    min_source_similarity: float | None = Field(
        default=None, ge=-1, le=1, description="cosine of the edit with its source: is it still that picture?"
    )
    max_source_similarity: float | None = Field(
        default=None, ge=-1, le=1, description="cosine of the edit with its source above which nothing new was made"
    )

    @model_validator(mode="after")
    def _leaves_something(self) -> Self:
        least, most = self.min_source_similarity, self.max_source_similarity
        if least is not None and most is not None and least >= most:
            raise ValueError(
                f"min_source_similarity {least:g} and max_source_similarity {most:g} together reject every edit; the "
                "minimum has to be below the maximum"
            )
        return self


def judge_edit(scores: Mapping[str, float], config: FilterConfig) -> Verdict:
    """Judge one edit by the thresholds, in the order of the config's fields; the first that fails is the reason.

    Args:
        scores: `reconstruction_psnr` and `vae_psnr` in dB, `label_probability` in 0..1, `text_alignment` and
            `source_similarity` as cosines.

    Returns:
        a verdict whose reason opens with the name of the score, then its value and the threshold; its score is the
        value that decided (of a kept edit: the label probability).

    Raises:
        ValueError: if a score is missing or not a number; such an edit has failed and is not for judging.
    """
    names = ("reconstruction_psnr", "vae_psnr", "label_probability", "text_alignment", "source_similarity")
    for name in names:
        if not math.isfinite(scores.get(name, math.nan)):
            raise ValueError(f"the score {name} is {scores.get(name)!r}; an edit without its scores cannot be judged")
    gap = scores["vae_psnr"] - scores["reconstruction_psnr"]
    if config.max_psnr_gap is not None and gap > config.max_psnr_gap:
        detail = f"reconstruction {scores['reconstruction_psnr']:.2f} dB, VAE {scores['vae_psnr']:.2f} dB"
        return Verdict(False, f"psnr_gap {gap:.2f} dB > {config.max_psnr_gap:g} dB ({detail})", gap)
    minima = {
        "label_probability": config.min_label_probability,
        "text_alignment": config.min_text_alignment,
        "source_similarity": config.min_source_similarity,
    }
    for name, minimum in minima.items():
        if minimum is not None and scores[name] < minimum:
            return Verdict(False, f"{name} {scores[name]:.4f} < {minimum:g}", scores[name])
    maximum = config.max_source_similarity
    if maximum is not None and scores["source_similarity"] > maximum:
        return Verdict(
            False, f"source_similarity {scores['source_similarity']:.4f} > {maximum:g}", scores["source_similarity"]
        )
    return Verdict(True, "", scores["label_probability"])
