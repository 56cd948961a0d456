"""`augment evaluate-tiny`: the embedded model's quality on the shipped `val` split."""

from __future__ import annotations

from augment.editing import EditConfig
from augment.models.clip import load_clip
from augment.models.config import ModelConfig
from augment.models.load import load_model
from augment.tiny.evaluate import (
    TinyQuality,
    evaluate_tiny,
    load_judge,
    load_split,
)
from augment.tiny.packaged import STUDENT

STUDENT_GENERATION = EditConfig(num_steps=4, strength=1.0, guidance_scale=3.0)
GENERATION = EditConfig(num_steps=20, strength=1.0, guidance_scale=3.0)


def measure_shipped_weights(
    editing: EditConfig, *, split: str = "val", limit: int | None = None, device: str = "cpu"
) -> TinyQuality:
    """Measure the shipped weights.

    Args:
        editing: settings of the background edits; the demo's are in `configs/expand/emoji.yaml`.
        split: `val` or `test`.
        limit: only the first so many pictures.
    """
    return evaluate_tiny(
        load_model(ModelConfig(device=device)),
        load_model(ModelConfig(name=STUDENT, device=device)),
        load_clip(device=device),
        load_judge(),
        load_split(split, limit),
        editing,
        GENERATION,
        STUDENT_GENERATION,
    )
