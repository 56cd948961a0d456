"""How good predictions are: accuracy, the worst group, each class, calibration, confusion. Plain numbers, no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from augment.scoring.intervals import lowest_share_of, share_of

ECE_BINS = 15


def measure_predictions(
    probabilities: np.ndarray, targets: np.ndarray, class_names: Sequence[str], groups: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """Return the figures of a set of pictures, shares with 95 % Wilson intervals as `NAME_low` and `NAME_high`.

    That of the worst group allows for the choice of the worst one (`augment.scoring.intervals.lowest_share_of`).

    Args:
        probabilities: of the classes, float [N, C].
        targets: the true classes, int [N].
        class_names: of the C classes.
        groups: name of a division -> group of each picture.

    Returns:
        `n`, `accuracy`, `loss` (mean cross-entropy), `ece`, `worst_group` (the lowest accuracy of all groups of all
        divisions; `worst_group_name` says which), `groups` and `per_class` (rows), and `confusion`: rows of counts, a
        row for each true class, a column for each predicted one.
    """
    predicted = probabilities.argmax(axis=1)
    right = predicted == targets
    of_target = probabilities[np.arange(len(targets)), targets]
    rows = [
        {"by": by, **row} for by, values in groups.items() for row in accuracy_by_group(right, values)
    ]  # in the order of the divisions
    worst = min(rows, key=lambda row: float(row["accuracy"]))
    return {
        "n": len(targets),
        **share_of(right.tolist()).named("accuracy"),
        "loss": float(-np.log(np.maximum(of_target, np.finfo(np.float64).tiny)).mean()),
        "ece": calibration_error(probabilities.max(axis=1), right),
        "worst_group_name": f"{worst['by']} {worst['group']}",
        **lowest_share_of(
            [right[np.array(values) == group].tolist() for values in groups.values() for group in sorted(set(values))]
        ).named("worst_group"),
        "groups": rows,
        "per_class": accuracy_by_group(right, [class_names[target] for target in targets], class_names),
        "confusion": confusion(targets, predicted, len(class_names)),
    }


def accuracy_by_group(
    right: np.ndarray, values: Sequence[str], order: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """Return a row for each group: `group`, `n` and `accuracy` with its interval, in the given order or by name.

    Args:
        right: whether each prediction is right, bool [N].
        values: the group of each picture.
        order: the groups; those without a picture have no row.
    """
    counts = Counter(values)
    array = np.array(values)
    return [
        {"group": name, "n": counts[name], **share_of(right[array == name].tolist()).named("accuracy")}
        for name in dict.fromkeys(order if order is not None else sorted(counts))
        if counts[name]
    ]


def calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int = ECE_BINS) -> float:
    """Return the expected calibration error of Guo et al. 2017, eq. 3: sum over the bins of n_b / n |acc_b - conf_b|.

    Args:
        confidence: probability of the predicted class, float [N]; bin m of M holds those in ((m - 1) / M, m / M].
        right: whether each prediction is right, bool [N].
        bins: M, of equal width.
    """
    places = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(places, weights=right.astype(np.float64) - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))


def confusion(targets: np.ndarray, predicted: np.ndarray, num_classes: int) -> list[list[int]]:
    """Return counts [C][C]: how often each true class (row) was taken for each class (column)."""
    counts = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(counts, (targets, predicted), 1)
    rows: list[list[int]] = counts.tolist()
    return rows
