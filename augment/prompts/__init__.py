"""Words only: which prompts an image is edited with. No tensors, no files."""

from __future__ import annotations

from augment.prompts.grid import AttributeValue, PromptConfig, PromptError
from augment.prompts.plan import plan_source, unused_classes

__all__ = ["AttributeValue", "PromptConfig", "PromptError", "plan_source", "unused_classes"]
