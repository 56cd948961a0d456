"""The attribute grids that ship, one for each domain of pictures: `grids/*.yaml` beside this file."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from augment.config import load_config
from augment.prompts.grid import PromptConfig

NEUTRAL = "neutral"  # where nothing tells what the pictures show
_FOLDER = Path(__file__).parent / "grids"


class Domain(BaseModel):
    """What may change in pictures of one kind.

    Attributes:
        describes: the pictures, in a few words.
        named: words in the name of a dataset that tell of such pictures.
        words: words in the names of its classes that do.
        prompts: templates and attributes.
        scene_template: instead of the templates, where the model has no word for the classes; "" for none.
        label_templates: for `clip.label_templates`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    describes: str
    named: frozenset[str] = frozenset()
    words: frozenset[str] = frozenset()
    prompts: PromptConfig
    scene_template: str = ""
    label_templates: tuple[str, ...] = Field(min_length=1)

    def scene_only(self) -> PromptConfig:
        """Return the prompts that name the scene alone. Raises ValueError if there is no template for them."""
        template = self.scene_template
        return PromptConfig.model_validate(
            self.prompts.model_dump() | {"templates": [template], "source_template": template, "scene_only": True}
        )


@cache
def domains() -> dict[str, Domain]:
    """Return the domains by name, sorted."""
    return {file.stem: load_config(file, Domain) for file in sorted(_FOLDER.glob("*.yaml"))}
