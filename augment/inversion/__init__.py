"""Inversion of deterministic samplers: one solver per file, one loop for all of them."""

from __future__ import annotations

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
from augment.solver_settings import complete_settings

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
    complete = complete_settings(name, settings)
    return SOLVERS[name](**complete)


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
