"""Which model: the config section and the shipped weights' place. No torch here, so that a typo costs no model load."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

WEIGHTS = Path(__file__).parent.parent / "tiny" / "weights"
EMBEDDED = "embedded"


class ModelError(ValueError):
    """A model that cannot be loaded: says which, why and what to do."""


class ModelConfig(BaseModel):
    """Which text-to-image model makes the edits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(default=EMBEDDED, description="`embedded`, a diffusers folder, or a Hugging Face model id")
    revision: str = Field(
        default="", description="commit, tag or branch of a Hugging Face model; empty for the default"
    )
    variant: str = Field(default="", description="of the weight files, for example `fp16`; empty for none")
    device: str = Field(default="cpu", description="`cpu`, `cuda` or `cuda:N`")
    dtype: Literal["float32", "float16", "bfloat16"] = Field(
        default="float32", description="of the network; latents and residuals are float32 throughout"
    )


def embedded_revision() -> str:
    """Identity of the shipped weights: the hash that their training recipe wrote beside them."""
    return (WEIGHTS / "revision.txt").read_text().strip()
