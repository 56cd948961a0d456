"""Words only: which prompts an image is edited with. No tensors, no files."""

from __future__ import annotations

from augment.errors import PromptError
from augment.prompts.draw import plan_source, unused_classes
from augment.prompts.grid import AttributeValue, PromptConfig
from augment.prompts.sources import PromptSource, prompt_source

__all__ = [
    "AttributeValue",
    "PromptConfig",
    "PromptError",
    "PromptSource",
    "plan_source",
    "prompt_source",
    "unused_classes",
]
