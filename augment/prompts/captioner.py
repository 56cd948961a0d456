"""The section `caption` of a prompt config: which model describes images that came without a caption."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from augment.config import PathText
from augment.prompts.templates import CLASS_FIELDS, fields_of, fill

INSTRUCTIONS = "Describe this picture in one short sentence. It shows {a_class}, which you call {class}."
SCENE_INSTRUCTIONS = (
    "Describe the surroundings and the light in this picture in one short sentence. Do not say what stands in them."
)


class CaptionerConfig(BaseModel):
    """A model of transformers that describes pictures, and what it is told."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: PathText = Field(
        min_length=1, description="a folder, or an id of the hub, of a model for image-text-to-text with its processor"
    )
    revision: str = Field(
        default="", description="commit, tag or branch of a Hugging Face model; empty for the default"
    )
    instructions: str | None = Field(
        default=None,
        description="what the model is told; fields: {class}, {a_class}; null: to describe the picture in one "
        "sentence, if the model has a chat template, and nothing otherwise",
    )
    prefix: str = Field(
        default="", description="words that each caption begins with, and the model goes on from; fields as above"
    )
    max_tokens: int = Field(default=60, gt=0, description="of one caption; of a longer one the whole sentences stay")
    device: str = Field(default="cpu", pattern=r"^(cpu|cuda(:\d+)?)$", description="`cpu`, `cuda` or `cuda:N`")
    dtype: Literal["float32", "float16", "bfloat16"] = Field(default="float32", description="of the model")

    @field_validator("instructions", "prefix")
    @classmethod
    def _has_known_fields(cls, text: str | None) -> str | None:
        unknown = [field for field in fields_of(text or "") if field not in CLASS_FIELDS]
        if unknown:
            raise ValueError(f"{text!r} has an unknown field {unknown[0]!r}: there are only {{class}} and {{a_class}}")
        return text

    @property
    def download_revision(self) -> dict[str, str]:
        """Return what `from_pretrained` is told about the revision: nothing for a folder."""
        return {} if Path(self.model).is_dir() else {"revision": self.revision}

    def identity(self) -> dict[str, Any]:
        """Return the settings that captions depend on."""
        return self.model_dump(mode="json", exclude={"device"})

    def names_class(self) -> bool:
        """Return whether the model is told the class, by a text that is written in the config."""
        return bool(fields_of((self.instructions or "") + self.prefix))

    def told(self, class_name: str, *, chats: bool, scene_only: bool) -> tuple[str, str]:
        """Return the instructions and the beginning of the caption for an image of a class.

        Args:
            class_name: of the image.
            chats: whether the model has a chat template.
            scene_only: whether captions name the scene alone.
        """
        text = self.instructions
        if text is None:
            text = (SCENE_INSTRUCTIONS if scene_only else INSTRUCTIONS) if chats else ""
        return fill(text, class_name, {}), fill(self.prefix, class_name, {})
