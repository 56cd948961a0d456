"""`augment evaluate-tiny`: the embedded model's quality on the shipped `val` split."""

from __future__ import annotations

from dataclasses import asdict, fields

from augment.editing import EditConfig
from augment.models.clip import load_clip
from augment.models.config import ModelConfig
from augment.models.load import load_model
from augment.tiny.evaluate import (
    evaluate_tiny,
    load_judge,
    load_split,
)
from augment.tiny.glyphs import find_font
from augment.tiny.packaged import STUDENT
from augment.tiny.recognise import (
    WideQuality,
    measure_wide,
    train_recogniser,
)

STUDENT_GENERATION = EditConfig(num_steps=4, strength=1.0, guidance_scale=3.0)
GENERATION = EditConfig(num_steps=20, strength=1.0, guidance_scale=3.0)
WIDE_COUNT = 384  # renders of each kind


def measure_shipped_weights(
    editing: EditConfig, *, split: str = "val", limit: int | None = None, device: str = "cpu"
) -> dict[str, float | None]:
    """Return the figures of the shipped weights by name: those of `TinyQuality`, then those of `WideQuality`.

    The latter need renders, and are None on a machine without the emoji font.

    Args:
        editing: settings of the background edits; the demo's are in `configs/expand/emoji.yaml`.
        split: `val` or `test`.
        limit: only the first so many pictures, and at most so many renders of each kind.
    """
    model, judge, pictures = load_model(ModelConfig(device=device)), load_judge(), load_split(split, limit)
    known = evaluate_tiny(
        model,
        load_model(ModelConfig(name=STUDENT, device=device)),
        load_clip(device=device),
        judge,
        pictures,
        editing,
        GENERATION,
        STUDENT_GENERATION,
    )
    try:
        find_font()
    except FileNotFoundError:
        return asdict(known) | {field.name: None for field in fields(WideQuality)}
    count = min(limit or WIDE_COUNT, WIDE_COUNT)
    return asdict(known) | asdict(measure_wide(model, train_recogniser(), judge, pictures.images, editing, count))
