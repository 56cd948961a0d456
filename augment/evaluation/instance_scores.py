"""How much of the instance edits keep, per edit: what is read from it against what the scene says."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from augment.scoring.intervals import Estimate, mean_of, share_of
from augment.tiny.evaluate import load_judge, lost_among
from augment.tiny.instance import InstanceReader, Instances, has_sides, train_reader, true_instances
from augment.tiny.instance_tracks import Track
from augment.tiny.recognise import edge_energy, train_recogniser
from augment.tiny.world import companion_mask, object_mask
from augment.training.classifier import AttributeClassifier

SHARES = ("target_reached", "object_kept", "flip_kept", "rest_kept")
MEANS = (
    "displacement_px",
    "size_error",
    "turn_error",
    "mask_iou",
    "appearance_change",
    "companion_change",
    "outside_change",
)
_NOT_KNOWN = Estimate(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Judges:
    """The networks that look at edits, all trained on renders.

    Attributes:
        scene: knows the named objects, the backgrounds and the conditions; shipped.
        recogniser: knows the objects without a word, and the marks.
        reader: knows where the object is.
    """

    scene: AttributeClassifier
    recogniser: AttributeClassifier
    reader: InstanceReader


def prepare_judges(folder: Path) -> Judges:
    """Return the judges; the two that are not shipped are trained once and kept in the folder (ten minutes).

    Raises:
        FileNotFoundError: if they must be trained and there is no emoji font.
    """
    recogniser, reader = folder / "recogniser", folder / "reader.safetensors"
    if not recogniser.exists():
        partial = recogniser.with_name("recogniser.part")
        train_recogniser().save(partial)
        partial.rename(recogniser)
    if not reader.exists():
        partial = reader.with_name("reader.part")
        train_reader().save(partial)
        partial.rename(reader)
    return Judges(load_judge(), AttributeClassifier.load(recogniser), InstanceReader.load(reader))


@dataclass(frozen=True)
class InstanceScores:
    """What is measured of N edits: name -> N numbers, NaN where the question does not arise.

    An edit with a pixel that is no number is lost: it shows, keeps and reaches nothing, so its shares are 0, and what
    would be measured of it is infinite. The mean is then not known: that of the edits that are left would say nothing
    of those that went wrong.

    Shares are 0 or 1: `target_reached` (the target's background, or condition, is seen), `object_kept`, `flip_kept`
    (the object looks the way it did; only for objects that look different in a mirror), `rest_kept` (the condition, or
    for a change of condition the background, is as before).

    Means: `displacement_px` (distance of the object's centre from where it was, pixels), `size_error` (of its side,
    relative), `turn_error` (degrees), `mask_iou` (of its outline with the true one, cells of 2 x 2 pixels covered by
    half or more), `appearance_change` and `companion_change` (mean absolute difference from the ideal edit inside the
    object, and inside the second object, as a share of full contrast), `outside_change` (the same from the source,
    outside of the object).

    Attributes:
        values: the above.
        sharpness: edge energy of all edits over that of the ideal ones; NaN if one is lost.
        lost: edits that are lost.
    """

    values: dict[str, np.ndarray]
    sharpness: float
    lost: int = 0

    def estimates(self) -> dict[str, Estimate]:
        """Return what was asked, with 95 % intervals; NaN for a mean with a lost edit."""
        known = {name: v[~np.isnan(v)] for name, v in self.values.items()}
        shares = {name: share_of((known[name] > 0.5).tolist()) for name in SHARES if len(known[name]) > 1}
        means = {name: _mean_if_finite(known[name]) for name in MEANS if len(known[name]) > 1}
        return shares | means

    def lead_over(self, other: InstanceScores, name: str) -> Estimate | None:
        """Return the mean difference of a measure, this minus the other, over the scenes, with its interval.

        None if fewer than two scenes have it; NaN for a mean with a lost edit.
        """
        pairs = np.stack([self.values[name], other.values[name]])
        pairs = pairs[:, ~np.isnan(pairs).any(axis=0)]
        if pairs.shape[1] < 2:
            return None
        return mean_of((pairs[0] - pairs[1]).tolist()) if np.isfinite(pairs).all() else _NOT_KNOWN


@torch.no_grad()
def score_instances(track: Track, edits: Tensor, judges: Judges) -> InstanceScores:
    """Compare edits [N, 3, 64, 64] in -1..1, one per scene of the track, with what the scenes say."""
    lost = lost_among(edits)
    sharpness = edge_energy(edits) / edge_energy(track.ideals) if not lost.any() else math.nan
    edits = torch.where(lost.view(-1, 1, 1, 1), 0.0, edits)  # the judges answer for any numbers; see `_without`
    sides = np.array([has_sides(scene.object) for scene in track.sources])
    of_reader = differences(true_instances(track.sources), judges.reader.read(edits))
    changed, rest = ("condition", "background") if track.name == "condition" else ("background", "condition")
    inside = torch.from_numpy(np.stack([object_mask(scene) for scene in track.sources]))
    second = torch.from_numpy(np.stack([companion_mask(scene) for scene in track.sources]))
    missed = (edits - track.ideals).abs().mean(dim=1) / 2
    values = {
        "target_reached": _is(judges.scene, edits, changed, [getattr(s, changed) for s in track.targets]),
        "rest_kept": _is(judges.scene, edits, rest, [getattr(s, rest) for s in track.sources]),
        "object_kept": _object_kept(track, edits, judges),
        **of_reader,
        "flip_kept": np.where(sides, of_reader["flip_kept"], np.nan),
        "appearance_change": _mean_within(missed, inside).numpy(),
        "companion_change": _mean_within(missed, second).numpy(),
        "outside_change": _mean_within((edits - track.images).abs().mean(dim=1) / 2, 1 - inside).numpy(),
    }
    return InstanceScores(
        {name: _without(np.asarray(v, np.float64), lost.numpy(), name) for name, v in values.items()},
        sharpness,
        int(lost.sum()),
    )


def _without(values: np.ndarray, lost: np.ndarray, name: str) -> np.ndarray:
    """Return the values of a measure, for lost edits 0 or infinite, where the question arises."""
    return np.where(lost & ~np.isnan(values), 0.0 if name in SHARES else np.inf, values)


def _mean_if_finite(values: np.ndarray) -> Estimate:
    return mean_of(values.tolist()) if np.isfinite(values).all() else _NOT_KNOWN


def differences(truth: Instances, seen: Instances) -> dict[str, np.ndarray]:
    """Return place, size, turn, outline and side of what is seen against the truth, named as in `InstanceScores`."""
    overlap, union = _overlap(seen.mask, truth.mask)
    return {
        "flip_kept": ((seen.flipped > 0.5) == (truth.flipped > 0.5)).float().numpy(),
        "displacement_px": (seen.place - truth.place).norm(dim=1).numpy(),
        "size_error": (seen.size / truth.size - 1).abs().numpy(),
        "turn_error": (seen.angle - truth.angle).abs().numpy(),
        "mask_iou": (overlap / union.clamp_min(1)).numpy(),
    }


def _object_kept(track: Track, edits: Tensor, judges: Judges) -> np.ndarray:
    if track.name == "unknown":
        return _is(judges.recogniser, edits, "unknown", track.classes)
    if track.name == "marks":
        return _is(judges.recogniser, edits, "marked", track.classes)
    return _is(judges.scene, edits, "object", track.classes)


def _is(judge: AttributeClassifier, images: Tensor, attribute: str, wanted: list[str]) -> np.ndarray:
    names = judge.attributes[attribute]
    seen = judge.predict(images)[attribute].tolist()
    return np.array([float(names[i] == w) for i, w in zip(seen, wanted, strict=True)])


def _overlap(seen: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cells that both masks cover by half or more, and those that either does, [N] each."""
    a, b = seen >= 0.5, truth >= 0.5
    return (a & b).flatten(1).sum(1).float(), (a | b).flatten(1).sum(1).float()


def _mean_within(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of values [N, H, W] weighted by masks; NaN where a mask covers less than four pixels."""
    weight = mask.flatten(1).sum(1)
    mean = (values * mask).flatten(1).sum(1) / weight.clamp_min(1e-6)
    return torch.where(weight >= 4, mean, torch.full_like(mean, torch.nan))
