"""A loop of toy size: three classes of 16 x 16 pictures, edits by the simulated editor."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

from augment.loop.config import LoopConfig
from augment.loop.run import run_loop
from augment.run.simulate import SimulatedEditor
from augment.run.worker import Worker
from tests.training.toy import BACKGROUNDS, SIZE, write_split

MAKE_WORKER = partial(Worker, make_editor=SimulatedEditor)


def write_toy_loop(folder: Path, **changes: Any) -> dict[str, Any]:
    """Write train, val and test; return the config of a loop of two rounds with edits."""
    values = [{"name": name, "text": f"in the {name}"} for name in BACKGROUNDS]
    prompts = {
        "templates": ["a picture of {a_class} {background} {weather}"],
        "attributes": {
            "background": values,
            "weather": [{"name": name, "text": f"in {name}"} for name in ("fog", "rain", "sun")],
        },
    }
    return {
        "expand": {
            "input": {"path": str(write_split(folder, "train", 8)), "format": "webdataset", "image_size": SIZE},
            "prompts": prompts,
            "variants_per_image": 3,
            "filters": {"min_label_probability": 0.4},
            "run": {"executor": "local", "unit_size": 4, "batch_size": 3},
        },
        "train": {
            "data": {
                "val": {"path": str(write_split(folder, "val", 12))},
                "test": {"path": str(write_split(folder, "test", 6))},
                "groups": ["background", "class"],
                "image_size": SIZE,
            },
            "optimizer": {"warmup": 2, "ema_decay": 0.5},
            "steps": 6,
            "batch_size": 8,
            "eval_every": 3,
        },
        "edits_per_round": 10,
        "budget": {"edits": 18},
        "early_steps": 3,
    } | changes


def toy_loop(folder: Path, **changes: Any) -> LoopConfig:
    """The config of a toy loop, with other values of some of its keys."""
    return LoopConfig.model_validate(write_toy_loop(folder, **changes))


if __name__ == "__main__":  # in a process that a test kills: CONFIG.json OUT
    config = LoopConfig.model_validate_json(Path(sys.argv[1]).read_text())
    run_loop(config, Path(sys.argv[2]), make_worker=MAKE_WORKER)
