"""The key `prompts` of a job: a file of prompts, or the prompts themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Discriminator, Tag

from augment.config import ExpandedPath, load_config
from augment.prompts import PromptConfig


def _kind(value: object) -> str:
    return "prompts" if isinstance(value, dict | PromptConfig) else "file"


PromptsField = Annotated[
    Annotated[ExpandedPath, Tag("file")] | Annotated[PromptConfig, Tag("prompts")], Discriminator(_kind)
]


def load_prompts(prompts: Path | PromptConfig) -> PromptConfig:
    """Return a job's prompts, read from their file if they are in one. Raises ConfigError as `load_config` does."""
    return prompts if isinstance(prompts, PromptConfig) else load_config(prompts, PromptConfig)


def prompts_name(prompts: Path | PromptConfig) -> str:
    """Return what messages call a job's prompts: their file, or the section of the config."""
    return "prompts" if isinstance(prompts, PromptConfig) else str(prompts)
