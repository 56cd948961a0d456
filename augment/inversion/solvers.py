"""The solvers by the names they have in configs."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ValidationError

from augment.inversion.anderson import Anderson
from augment.inversion.baselines.anderson_prior import AndersonPrior
from augment.inversion.baselines.ddim import DDIM
from augment.inversion.baselines.exact_dpm import ForwardStep, GradientDescent
from augment.inversion.baselines.newton_krylov import NewtonKrylov
from augment.inversion.baselines.plain_newton import PlainNewton
from augment.inversion.baselines.renoise import ReNoise
from augment.inversion.baselines.rnri_released import RNRIReleased
from augment.inversion.fixed_point import FixedPoint
from augment.inversion.rnri import RNRI
from augment.inversion.solver import Solver

SOLVERS: dict[str, type[Solver]] = {
    "ddim": DDIM,
    "fixed_point": FixedPoint,
    "anderson": Anderson,
    "anderson_prior": AndersonPrior,
    "renoise": ReNoise,
    "forward_step": ForwardStep,
    "gradient_descent": GradientDescent,
    "plain_newton": PlainNewton,
    "newton_krylov": NewtonKrylov,
    "rnri": RNRI,
    "rnri_released": RNRIReleased,
}


def make_solver(name: str, **settings: Any) -> Solver:
    """Return the solver of a name, with the given settings and its defaults for the others.

    `make_solver(**section.model_dump())` makes the solver that a config's section describes.

    Raises:
        ValueError: for an unknown name, setting or value, with the nearest match and what there is.
    """
    if name not in SOLVERS:
        raise ValueError(f"unknown solver {name!r}{_nearest(name, SOLVERS)}; there are {', '.join(SOLVERS)}")
    solver = SOLVERS[name]
    try:
        return solver(**settings)
    except ValidationError as error:
        problems = "; ".join(_explained(problem, solver) for problem in error.errors())
        raise ValueError(f"solver {name!r}: {problems}") from error


def _explained(problem: Any, solver: type[Solver]) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        assert issubclass(solver, BaseModel)
        known = [field for field in solver.model_fields if field != "name"]
        has = f"it has {', '.join(known)}" if known else "it has none"
        return f"no setting {key!r}{_nearest(key, known)}; {has}"
    reason = problem["msg"].removeprefix("Input should be ")
    return f"{key} must be {reason}, got {problem['input']!r}"


def _nearest(word: str, choices: Iterable[str]) -> str:
    match = difflib.get_close_matches(word, list(choices), n=1)
    return f" (did you mean {match[0]!r}?)" if match else ""
