"""What each solver, and the loop around it, can be told: the one place where names, defaults and ranges stand.

A solver's class *is* its settings (`class Anderson(AndersonSettings, Solver)`), so a section of a config and a solver
made in Python are checked alike. No torch here: a config is checked before anything heavy is imported.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

# Strict: `true` is no number, and 2.5 no count, whatever Python would make of them.
Count = Annotated[int, Field(strict=True, ge=1)]
Positive = Annotated[float, Field(strict=True, gt=0)]
NonNegative = Annotated[float, Field(strict=True, ge=0)]

WarmStart = Literal["none", "previous", "extrapolated"]


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DDIMSettings(_Settings):
    """Settings of `augment.inversion.DDIM`."""

    name: Literal["ddim"] = "ddim"


class FixedPointSettings(_Settings):
    """Settings of `augment.inversion.FixedPoint`."""

    name: Literal["fixed_point"] = "fixed_point"


class AndersonSettings(_Settings):
    """Settings of `augment.inversion.Anderson`."""

    name: Literal["anderson"] = "anderson"
    memory: Count = Field(default=2, description="m, differences of earlier iterates in the least squares")
    ridge: Positive = Field(default=1e-8, description="weight of |gamma|^2, each difference scaled to unit length")


class AndersonPriorSettings(_Settings):
    """Settings of `augment.inversion.AndersonPrior`."""

    name: Literal["anderson_prior"] = "anderson_prior"
    memory: Count = Field(default=2, description="m, differences of earlier iterates in the least squares")
    ridge: Positive = Field(default=1e-8, description="weight of |gamma|^2, each difference scaled to unit length")
    prior_weight: NonNegative = Field(default=0.1, description="lambda, weight of RNRI's Gaussian prior")


class ReNoiseSettings(_Settings):
    """Settings of `augment.inversion.ReNoise`."""

    name: Literal["renoise"] = "renoise"
    window: Count = Field(default=2, description="how many of the last iterates are averaged, fewer while there are")


class ForwardStepSettings(_Settings):
    """Settings of `augment.inversion.ForwardStep`."""

    name: Literal["forward_step"] = "forward_step"
    step_size: Positive = Field(default=0.5, description="the first rho; halved where the residual does not fall")


class GradientDescentSettings(_Settings):
    """Settings of `augment.inversion.GradientDescent`."""

    name: Literal["gradient_descent"] = "gradient_descent"
    step_size: Positive = Field(default=1.0, description="the first rho; halved where the residual does not fall")


class PlainNewtonSettings(_Settings):
    """Settings of `augment.inversion.PlainNewton`."""

    name: Literal["plain_newton"] = "plain_newton"


class NewtonKrylovSettings(_Settings):
    """Settings of `augment.inversion.NewtonKrylov`."""

    name: Literal["newton_krylov"] = "newton_krylov"
    krylov_dim: Count = Field(default=3, description="dimension of GMRES' Krylov space, a derivative for each")


class RNRISettings(_Settings):
    """Settings of `augment.inversion.RNRI`; the defaults are the paper's."""

    name: Literal["rnri"] = "rnri"
    prior_weight: NonNegative = Field(default=0.1, description="lambda, weight of the Gaussian prior")
    eta: NonNegative = Field(default=0.1, description="added to the gradient's elements before the division")


class RNRIReleasedSettings(_Settings):
    """Settings of `augment.inversion.RNRIReleased`; the default is the released code's."""

    name: Literal["rnri_released"] = "rnri_released"
    prior_weight: NonNegative = Field(default=0.1, description="alpha, weight of the prior about the clean latents")


SolverSettings = Annotated[
    DDIMSettings
    | FixedPointSettings
    | AndersonSettings
    | AndersonPriorSettings
    | ReNoiseSettings
    | ForwardStepSettings
    | GradientDescentSettings
    | PlainNewtonSettings
    | NewtonKrylovSettings
    | RNRISettings
    | RNRIReleasedSettings,
    Field(discriminator="name"),
]


class Stop(_Settings):
    """When to stop iterating on one equation; the defaults are for the default method, Anderson with a warm start.

    The tolerance is on the error that a step causes: how far sampling it misses the latents z' that it should lead to,
    over the square root of their share of image (`StepEquation.error`): |a| / sqrt(s') times the residual z - f(z). It
    is stricter near the noise, where a residual that looks small leads to another image. The iterate that the answer is
    computed from meets it, so the answer is better.

    Neither the residual nor residual / |b/a|, the error of the prediction, is as even: in few steps both stop too early
    near the noise. Over s' instead of its root, steps near the image are let off too early, and now and then a picture
    is lost. What one tolerance costs and leaves at 4, 10, 20 and 50 steps stands in the benchmark's tables
    (configs/benchmark/emoji.yaml and emoji_50.yaml).
    """

    max_steps: int = Field(default=8, strict=True, ge=1, description="solver iterations per inverted step at most")
    first_max_steps: int = Field(
        default=0, strict=True, ge=0, description="the same for the first, singular inverted step; 0 = max_steps"
    )
    tolerance: NonNegative = Field(
        default=0.03, description="error that a step may cause (RMS, latents' units) for a sample to be done"
    )

    def limit(self, is_first: bool) -> int:
        """Return the iterations that an inverted step may take; the first one (sampling's last) has its own limit."""
        return self.first_max_steps if is_first and self.first_max_steps else self.max_steps


SINGLE_ITERATION = frozenset({"ddim"})  # solvers that are over after one iteration, whatever `Stop` allows
# With one iteration they answer with f of the first guess, as DDIM inversion does; the derivative serves a second one.
NEED_TWO_ITERATIONS = frozenset({"gradient_descent", "plain_newton", "rnri"})


def solver_warnings(solver: SolverSettings, stop: Stop) -> list[str]:
    """Return what of a method is paid for and not used, as warnings."""
    if stop.max_steps > 1 or solver.name not in NEED_TWO_ITERATIONS:
        return []
    return [
        f"editing.stop.max_steps is 1: with one iteration {solver.name} is DDIM inversion at twice the cost, because "
        "its derivative is for the second; set 2 or more, or solver: {name: ddim}"
    ]
