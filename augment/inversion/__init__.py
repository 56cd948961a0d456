"""Inversion of deterministic samplers: one solver per file, one loop for all of them."""

from __future__ import annotations

import difflib
from dataclasses import fields
from typing import Any

from augment.inversion.ddim import DDIM
from augment.inversion.equation import StepEquation
from augment.inversion.fixed_point import FixedPoint
from augment.inversion.invert import Inversion, invert
from augment.inversion.rnri import RNRI
from augment.inversion.rnri_released import RNRIReleased
from augment.inversion.rnri_secant import RNRISecant
from augment.inversion.solver import Solution, Solver, Status, Stop, hyperparameters, solve

SOLVERS: dict[str, type[Solver]] = {
    "ddim": DDIM,
    "fixed_point": FixedPoint,
    "rnri": RNRI,
    "rnri_released": RNRIReleased,
    "rnri_secant": RNRISecant,
}


def make_solver(name: str, **settings: Any) -> Solver:
    """A solver by its name in configs.

    Raises:
        ValueError: for an unknown name or setting, with the nearest match and what there is.
    """
    if name not in SOLVERS:
        raise ValueError(f"unknown solver {name!r}{_nearest(name, list(SOLVERS))}; there are {', '.join(SOLVERS)}")
    known = [f.name for f in fields(SOLVERS[name])]  # type: ignore[arg-type]
    for key, value in settings.items():
        if key not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise ValueError(f"solver {name!r} has no setting {key!r}{_nearest(key, known)}; {has}")
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise ValueError(f"solver {name!r}: {key} must be a number >= 0, got {value!r}")
    return SOLVERS[name](**settings)


def _nearest(word: str, choices: list[str]) -> str:
    match = difflib.get_close_matches(word, choices, n=1)
    return f" (did you mean {match[0]!r}?)" if match else ""


__all__ = [
    "DDIM",
    "RNRI",
    "SOLVERS",
    "FixedPoint",
    "Inversion",
    "RNRIReleased",
    "RNRISecant",
    "Solution",
    "Solver",
    "Status",
    "StepEquation",
    "Stop",
    "hyperparameters",
    "invert",
    "make_solver",
    "solve",
]
