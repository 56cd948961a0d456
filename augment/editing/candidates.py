"""Several edits of a kind from one inversion, of which the first that is good enough is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from augment.editing.config import EditConfig, Setting
from augment.editing.inverted import InvertedImages

Place = tuple[int, int]  # of an edit: its image, and its number among the edits of that image
Judge = Callable[[Sequence[Place], Tensor], Sequence[Mapping[str, float]]]  # of edits [n, 3, H, W] in -1..1


@dataclass(frozen=True)
class ChosenEdits:
    """What is kept of the candidates.

    Attributes:
        edits: per image a tensor [K, 3, H, W] in -1..1 on the CPU, in the order of its target prompts.
        settings: those that each was made with.
    """

    edits: list[Tensor]
    settings: list[list[Setting]]


def choose_edits(
    inverted: InvertedImages, target_prompts: Sequence[Sequence[str]], config: EditConfig, judge: Judge | None
) -> ChosenEdits:
    """Return the edits of inverted images, each made with the first of the config's candidates that is good enough.

    Args:
        inverted: images, to the largest strength that is tried.
        target_prompts: for each image any number of prompts.
        config: without candidates every edit is made with its own strength and guidance scale, and nothing is judged.
        judge: returns the scores of edits.

    Raises:
        ValueError: if there are candidates and no judge.
    """
    settings = list(config.tried)
    if config.candidates is None:
        edits = inverted.edits(target_prompts, config)
        return ChosenEdits(edits, [settings * len(prompts) for prompts in target_prompts])
    if judge is None:
        raise ValueError("editing.candidates: nothing judges them; edits are chosen where they are scored")
    pending: list[Place] = [(i, k) for i, prompts in enumerate(target_prompts) for k in range(len(prompts))]
    kept: dict[Place, tuple[float, Setting, Tensor]] = {}
    spent = 0
    for setting in settings:
        spent += inverted.evaluations(setting)
        if not pending or (kept and spent > (config.candidates.max_evaluations or spent)):
            break
        asked = [
            [prompts[k] for k in range(len(prompts)) if (i, k) in pending] for i, prompts in enumerate(target_prompts)
        ]
        found = torch.cat(inverted.edits(asked, config.model_copy(update=setting._asdict())))
        margins = [config.candidates.margin(scores) for scores in judge(pending, found)]
        for place, margin, pixels in zip(pending, margins, found, strict=True):
            if place not in kept or margin > kept[place][0]:
                kept[place] = (margin, setting, pixels)
        pending = [place for place in pending if kept[place][0] < 0.0]
    empty = torch.zeros(0, 3, *inverted.image_size)
    of_images = [[kept[i, k] for k in range(len(prompts))] for i, prompts in enumerate(target_prompts)]
    return ChosenEdits(
        [torch.stack([pixels for _, _, pixels in of_one]) if of_one else empty for of_one in of_images],
        [[setting for _, setting, _ in of_one] for of_one in of_images],
    )


def deepest(config: EditConfig) -> EditConfig:
    """Return the config with the largest strength that it tries, to which its images are inverted."""
    return config.model_copy(update={"strength": max(setting.strength for setting in config.tried)})
