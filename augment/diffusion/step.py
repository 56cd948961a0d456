"""One step of a first-order sampler whose noise is known: affine in the latents and the predicted noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Level:
    """How much image and how much noise latents hold: z = signal x + noise n, with n standard normal."""

    signal: float
    noise: float

    @property
    def log_snr(self) -> float:
        """log(signal / noise), finite also for pure noise."""
        return math.log(max(self.signal, 1e-4) / max(self.noise, 1e-4))


@dataclass(frozen=True)
class AffineStep:
    """z' = a z + b eps(z, t) + c n, from the noisier latents z at timestep t to the cleaner z'.

    Sampling applies it; inversion solves it for z. Both read the same numbers, so they cannot drift apart.

    Attributes:
        timestep: t, in the units of the network's training timesteps.
        a, b, c: the three coefficients; c is 0 unless the sampler adds noise n, which is fixed in advance. eps is the
            network's answer as its family counts it: predicted noise, or the velocity of a flow model.
        prior_scale, prior_variance: of the forward process q(z | z') = N(prior_scale z', prior_variance I), which is
            RNRI's prior over z (Samuel et al. 2025, section 4.2).
        end: image and noise in z'; samplers that add noise need it to draw noise that goes with a given z'.
    """

    timestep: float
    a: float
    b: float
    c: float
    prior_scale: float
    prior_variance: float
    end: Level = Level(1.0, 0.0)

    def apply(
        self,
        z: Float[Tensor, "B C H W"],
        eps: Float[Tensor, "B C H W"],
        noise: Float[Tensor, "B C H W"] | None = None,
    ) -> Float[Tensor, "B C H W"]:
        """z' of this step, given eps = eps(z, t)."""
        after = self.a * z + self.b * eps
        return after if noise is None else after + self.c * noise

    def solve_linear(
        self,
        after: Float[Tensor, "B C H W"],
        eps: Float[Tensor, "B C H W"],
        noise: Float[Tensor, "B C H W"] | None = None,
    ) -> Float[Tensor, "B C H W"]:
        """The z that `apply` takes to `after` if the network had answered `eps`: f(z) when eps = eps(z, t)."""
        numerator = after - self.b * eps
        if noise is not None:
            numerator = numerator - self.c * noise
        return numerator / self.a


def diffusion_step(timestep: float, start: Level, end: Level, *, added_noise: float = 0.0) -> AffineStep:
    """The step from `start` to `end` that moves along the predicted noise and adds fresh noise.

    z' = (s'/s) z + (sqrt(v'^2 - c^2) - v s'/s) eps + c n, with s, v the signal and noise of the start, s', v' of the
    end: DDIM (Song et al. 2021, eq. 12) in the variables of Kingma et al. 2021.

    Args:
        added_noise: c, at most the end's noise.
    """
    ratio = end.signal / start.signal
    down = max(end.noise**2 - added_noise**2, 0.0) ** 0.5
    return with_prior(timestep, ratio, down - ratio * start.noise, added_noise, start, end)


def with_prior(timestep: float, a: float, b: float, c: float, start: Level, end: Level) -> AffineStep:
    """A step of the given coefficients with the Gaussian of the forward process from `end` to `start`."""
    scale = start.signal / end.signal
    return AffineStep(timestep, a, b, c, scale, start.noise**2 - (scale * end.noise) ** 2, end)
