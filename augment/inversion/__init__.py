"""Inversion of deterministic samplers: one solver per file, one loop for all of them."""

from __future__ import annotations

import difflib
import math
from dataclasses import fields
from typing import Any

from augment.inversion.anderson import Anderson
from augment.inversion.ddim import DDIM
from augment.inversion.edit_friendly import edit_friendly
from augment.inversion.equation import StepEquation
from augment.inversion.fixed_point import FixedPoint
from augment.inversion.gradient import ForwardStep, GradientDescent
from augment.inversion.invert import Inversion, invert
from augment.inversion.newton_krylov import NewtonKrylov
from augment.inversion.plain_newton import PlainNewton
from augment.inversion.renoise import ReNoise
from augment.inversion.rnri import RNRI
from augment.inversion.rnri_released import RNRIReleased
from augment.inversion.rnri_secant import RNRISecant
from augment.inversion.solver import Solution, Solver, Status, Stop, hyperparameters, solve

SOLVERS: dict[str, type[Solver]] = {
    "ddim": DDIM,
    "fixed_point": FixedPoint,
    "anderson": Anderson,
    "renoise": ReNoise,
    "forward_step": ForwardStep,
    "gradient_descent": GradientDescent,
    "plain_newton": PlainNewton,
    "newton_krylov": NewtonKrylov,
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
    known = {f.name: f.default for f in fields(SOLVERS[name])}  # type: ignore[arg-type]
    for key, value in settings.items():
        if key not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise ValueError(f"solver {name!r} has no setting {key!r}{_nearest(key, list(known))}; {has}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise ValueError(f"solver {name!r}: {key} must be a number >= 0, got {value!r}")
        if isinstance(known[key], int) and not isinstance(value, int):
            raise ValueError(f"solver {name!r}: {key} must be a whole number, got {value!r}")
    return SOLVERS[name](**settings)


def _nearest(word: str, choices: list[str]) -> str:
    match = difflib.get_close_matches(word, choices, n=1)
    return f" (did you mean {match[0]!r}?)" if match else ""


__all__ = [
    "DDIM",
    "RNRI",
    "SOLVERS",
    "Anderson",
    "FixedPoint",
    "ForwardStep",
    "GradientDescent",
    "Inversion",
    "NewtonKrylov",
    "PlainNewton",
    "RNRIReleased",
    "RNRISecant",
    "ReNoise",
    "Solution",
    "Solver",
    "Status",
    "StepEquation",
    "Stop",
    "edit_friendly",
    "hyperparameters",
    "invert",
    "make_solver",
    "solve",
]
