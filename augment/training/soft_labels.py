"""Soft labels: instead of its class, an edit has a share of every class, by what its record says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float32

from augment.errors import InputError
from augment.training.data import TrainingSets
from augment.training.edit_records import number_in, read_records

_SUM_TOLERANCE = 1e-3  # of shares that were rounded when they were written


def soft_labels(sets: TrainingSets, field: str) -> Float32[np.ndarray, "S C"]:
    """Return the shares of the classes of every edit; each row's sum is 1.

    Args:
        field: of an edit's record. Either a number p in 0..1, such as `label_probability`: the share of its class, and
            the other classes have (1 - p) / (C - 1) each; or a mapping of class names to shares whose sum is 1, in
            which classes of share 0 may be left out.

    Raises:
        InputError: if a record has neither, or names a class that there is not.
    """
    records = read_records(sets.synthetic)
    labels = np.zeros((len(sets.synthetic), len(sets.class_names)), np.float32)
    for row, edit, target in zip(labels, sets.synthetic, sets.targets(sets.synthetic), strict=True):
        where = f"data.synthetic.soft_labels: the record of {edit.place}"
        value = records[edit.place].get(field)
        if isinstance(value, Mapping):
            row[:] = _shares(value, sets.class_names, f"{where}, {field!r},")
        elif (share := number_in(value)) is not None and share <= 1 and len(row) > 1:
            row[:] = (1 - share) / (len(row) - 1)
            row[target] = share
        else:
            raise InputError(
                f"{where} has {value!r} as its {field!r}. A soft label is made of a number from 0 to 1, the share of "
                "the edit's class, such as label_probability, or of a mapping of class names to shares"
            )
    return labels


def _shares(value: Mapping[str, Any], class_names: tuple[str, ...], where: str) -> list[float]:
    if unknown := sorted(set(value) - set(class_names)):
        raise InputError(f"{where} has the class {unknown[0]!r}; there are {', '.join(class_names[:10])}")
    shares = [number_in(value.get(name, 0)) for name in class_names]
    if None in shares or not math.isclose(total := math.fsum(s or 0.0 for s in shares), 1.0, abs_tol=_SUM_TOLERANCE):
        raise InputError(f"{where} has the shares {dict(value)}; expected numbers whose sum is 1")
    return [(share or 0.0) / total for share in shares]
