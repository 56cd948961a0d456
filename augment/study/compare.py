"""What runs say together: a row for every track and arm, and paired differences between arms, with 95 % intervals.

An interval is over the test pictures: what other pictures would have given. With three seeds or more it is over the
seeds as well (Student's t), what another seed would have given, and the wider ends of both count: seeds that happen to
agree do not make a figure certain. Each row says which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from augment.inputs.readers import list_sources
from augment.scoring.intervals import Estimate, mean_of, mean_of_few
from augment.study.arms import ARMS, MIX
from augment.study.config import ArmName, TrackChoice
from augment.training.data import groups_of
from augment.training.results import read_predictions

MEASURES = ("accuracy", "worst_group")  # of which there are paired differences
SHOWN = (*MEASURES, "corrupted", "rare")  # the last one on tracks with rare classes
SEEDS_FOR_INTERVALS = 3
RESAMPLES = 2000


@dataclass(frozen=True)
class StudyRun:
    """A finished training run.

    Attributes:
        folder: with its report.json.
        test: the report's figures of test, `corrupted`, the accuracy under `augment.study.corruptions`, and those of
            `rare_classes`.
        right: whether the prediction of each test picture is right, bool [N].
    """

    track: TrackChoice
    arm: ArmName
    seed: int
    folder: Path
    test: Mapping[str, Any]
    right: Bool[np.ndarray, " N"]


def right_predictions(folder: Path) -> Bool[np.ndarray, " N"]:
    """Return whether the predictions of a finished run are right, in the order of the test pictures."""
    return np.array([row["class_name"] == row["predicted"] for row in read_predictions(folder, "test")])


def rare_classes(test: Mapping[str, Any]) -> dict[str, float]:
    """Return the accuracy on the pictures of rare classes, as `rare` with its interval, if there are any.

    Args:
        test: a report's figures of test.
    """
    found = (row for row in test["groups"] if (row["by"], row["group"]) == ("frequency", "rare"))
    return {f"rare{end}": row[f"accuracy{end}"] for row in found for end in ("", "_low", "_high")}


def group_members(test: Path, names: Sequence[str]) -> Bool[np.ndarray, "G N"]:
    """Return which pictures of a tar are in each group of the divisions, as `augment train` makes them."""
    divisions = groups_of(list_sources(test, "webdataset").sources, names)
    return np.array([np.array(values) == group for values in divisions.values() for group in sorted(set(values))])


def row_of(runs: Sequence[StudyRun], edits: int, label: Estimate | None, out: Path) -> dict[str, Any]:
    """Return the row of the runs of one track and arm.

    Args:
        edits: synthetic pictures.
        label: share of them whose label is true; its interval is over these pictures. None: there are none.
        out: the study's folder; the row names the runs' folders from there.
    """
    row: dict[str, Any] = {
        "track": runs[0].track,
        "arm": runs[0].arm,
        "seeds": len(runs),
        "edits": edits,
        **_fields(label, "label_true"),
        "intervals_over": intervals_over(runs),
    }
    for measure in SHOWN:
        row |= _fields(_estimate(runs, measure) if measure in runs[0].test else None, measure)
    return row | {"runs": [run.folder.relative_to(out).as_posix() for run in runs]}


def compared_with(arm: ArmName) -> dict[str, ArmName]:
    """Return the arms that one is compared with, by what it is compared for.

    `image_to_image` and `text_to_image` are the arms of these with its augmentation. `nothing_made` is real pictures
    alone: for an arm that makes pictures with its augmentation, for another one without any.
    """

    def like(maker: str | None) -> ArmName | None:
        own = ARMS[arm].augmentation
        found = (n for n, a in ARMS.items() if (a.maker, a.augmentation, a.recipe) == (maker, own, MIX))
        return next(found, None)

    others: dict[str, ArmName | None] = {
        "nothing_made": like(None) if ARMS[arm].maker else "none",
        "image_to_image": like("image_to_image"),
        "text_to_image": like("text_to_image"),
    }
    return {over: other for over, other in others.items() if other is not None}


def differences_of(runs: Sequence[StudyRun], members: Bool[np.ndarray, "G N"]) -> list[dict[str, Any]]:
    """Return how much better each arm of a track is than those that it is `compared_with`: of paired runs.

    Args:
        runs: of one track, every arm with the same seeds.
        members: of `group_members`, of the track's test pictures.
    """
    of_arm: dict[ArmName, list[StudyRun]] = {}
    for run in runs:
        of_arm.setdefault(run.arm, []).append(run)
    rows = []
    for arm, own in of_arm.items():
        for over, against in compared_with(arm).items():
            if against == arm or against not in of_arm:
                continue
            for measure in MEASURES:
                difference = _difference(own, of_arm[against], measure, members).named("difference")
                what = {"track": own[0].track, "arm": arm, "over": over, "against": against, "measure": measure}
                rows.append(what | difference | {"intervals_over": intervals_over(own)})
    return rows


def intervals_over(runs: Sequence[StudyRun]) -> str:
    """Return what intervals of so many runs are over: `pictures`, or `seeds and pictures`."""
    return "seeds and pictures" if len(runs) >= SEEDS_FOR_INTERVALS else "pictures"


def worst_group_of(right: np.ndarray, members: Bool[np.ndarray, "G N"], weights: np.ndarray) -> np.ndarray:
    """Return the lowest accuracy of the groups, for each way of weighting the pictures.

    Args:
        right: of each picture [N].
        weights: how often each picture counts, [R, N]; a group that has none does not count.

    Returns:
        float [R].
    """
    counts = weights @ members.T.astype(np.float64)
    hits = (weights * right) @ members.T.astype(np.float64)
    shares = np.divide(hits, counts, out=np.full_like(hits, np.inf), where=counts > 0)
    lowest: np.ndarray = shares.min(axis=1)
    return lowest


def _fields(estimate: Estimate | None, name: str) -> dict[str, float | None]:
    """Return an estimate by name, as `Estimate.named` does; None is a figure that a row does not have."""
    if estimate is None:
        return dict.fromkeys((name, f"{name}_low", f"{name}_high"))
    return {**estimate.named(name)}


def _estimate(runs: Sequence[StudyRun], measure: str) -> Estimate:
    values = [float(run.test[measure]) for run in runs]
    # Of runs that share their test pictures the mean is no less certain than each of them.
    low, high = ([float(run.test[f"{measure}_{end}"]) for run in runs] for end in ("low", "high"))
    estimate = _with_seeds(Estimate(*(float(np.mean(v)) for v in (values, low, high))), values)
    return Estimate(estimate.value, max(0.0, estimate.low), min(1.0, estimate.high))


def _with_seeds(over_pictures: Estimate, of_seeds: Sequence[float]) -> Estimate:
    """Return an estimate over pictures with an interval over the seeds too, if these are enough: the wider ends."""
    if len(of_seeds) < SEEDS_FOR_INTERVALS:
        return over_pictures
    seeds = mean_of_few(of_seeds)
    return Estimate(over_pictures.value, min(over_pictures.low, seeds.low), max(over_pictures.high, seeds.high))


def _difference(
    own: Sequence[StudyRun], others: Sequence[StudyRun], measure: str, members: Bool[np.ndarray, "G N"]
) -> Estimate:
    pairs = list(zip(own, others, strict=True))
    assert all(a.seed == b.seed for a, b in pairs)
    of_seeds = [float(a.test[measure]) - float(b.test[measure]) for a, b in pairs]
    if measure == "accuracy":
        of_pictures = np.mean([a.right.astype(float) - b.right.astype(float) for a, b in pairs], axis=0)
        return _with_seeds(mean_of(of_pictures.tolist()), of_seeds)
    # The worst group may be another one of every sample of pictures: a bootstrap over pictures, its percentiles.
    n = members.shape[1]
    weights = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=RESAMPLES)

    def lead(weights: np.ndarray) -> np.ndarray:
        both = [[worst_group_of(run.right, members, weights) for run in pair] for pair in pairs]
        return np.mean([a - b for a, b in both], axis=0)

    low, high = np.percentile(lead(weights), [2.5, 97.5])
    return _with_seeds(Estimate(float(lead(np.ones((1, n)))[0]), float(low), float(high)), of_seeds)
