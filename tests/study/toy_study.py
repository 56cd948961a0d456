"""A study at toy size: one or two pictures of a class, two steps of sampling, a few steps of training."""

from __future__ import annotations

from typing import Any

from augment.study.config import StudyConfig


def toy_study(**changes: Any) -> StudyConfig:
    """The config of a short study, with other values of some of its keys."""
    settings: dict[str, Any] = {
        "tracks": ["marks"],
        "arms": ["none", "image_to_image", "text_to_image", "default", "oracle"],
        "seeds": 1,
        "edits_per_image": 2,
        "train_per_class": 1,
        "val_per_class": 1,
        "test_per_class": 2,
        "editing": {"num_steps": 2, "strength": 0.5},
        "batch_size": 5,
        "optimizer": {"warmup": 1},
        "steps": 3,
        "train_batch_size": 8,
        "eval_every": 2,
        "judge": {"steps": 2, "renders": 16, "test_renders": 8},
    }
    return StudyConfig.model_validate(settings | changes)
