"""One step of a first-order sampler whose noise is known: affine in the latents and the predicted noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Level:
    """Hold how much image and how much noise latents contain: z = signal x + noise n, with n standard normal.

    Attributes:
        signal: s >= 0, the factor of the clean latents x.
        noise: v >= 0, the standard deviation of the noise. s^2 + v^2 = 1 in variance-preserving models, s + v = 1 in
            rectified flows.
    """

    signal: float
    noise: float

    @property
    def log_snr(self) -> float:
        """Return the logarithmic signal-to-noise ratio, log(signal^2 / noise^2) (Kingma et al. 2021, section 3.2).

        It is +inf for clean latents and -inf for pure noise.
        """
        if self.noise == 0.0:
            return math.inf
        return 2.0 * math.log(self.signal / self.noise) if self.signal > 0.0 else -math.inf


CLEAN = Level(1.0, 0.0)


@dataclass(frozen=True)
class AffineStep:
    """Describe z' = a z + b eps(z, t) + c n, from the noisier latents z at timestep t to the cleaner z'.

    Sampling applies it; inversion solves it for z. Both read the same numbers, so they cannot drift apart.

    Attributes:
        timestep: t, in the units of the network's training timesteps.
        a, b, c: the three coefficients; c is 0 unless the sampler adds noise n, which is fixed in advance. eps is the
            network's answer as its family counts it: predicted noise, or the velocity of a flow model. a is infinite
            where the step would divide by a signal of zero.
        start: image and noise in z.
        end: image and noise in z'.
    """

    timestep: float
    a: float
    b: float
    c: float
    start: Level
    end: Level

    @property
    def is_singular(self) -> bool:
        """Return whether the step divides by a signal of zero: it can be neither walked nor inverted."""
        return not math.isfinite(self.a)

    def apply(
        self,
        z: Float[Tensor, "B C H W"],
        eps: Float[Tensor, "B C H W"],
        noise: Float[Tensor, "B C H W"] | None = None,
    ) -> Float[Tensor, "B C H W"]:
        """Return z', given eps = eps(z, t) and the noise n; None stands for n = 0."""
        after = self.a * z + self.b * eps
        return after if noise is None else after + self.c * noise

    def solve_linear(
        self,
        after: Float[Tensor, "B C H W"],
        eps: Float[Tensor, "B C H W"],
        noise: Float[Tensor, "B C H W"] | None = None,
    ) -> Float[Tensor, "B C H W"]:
        """Return the z that `apply` takes to `after` if the network had answered `eps`: f(z) when eps = eps(z, t)."""
        numerator = after - self.b * eps
        if noise is not None:
            numerator = numerator - self.c * noise
        return numerator / self.a


def diffusion_step(timestep: float, start: Level, end: Level, *, added_noise: float = 0.0) -> AffineStep:
    """Return the step from `start` to `end` that moves along the predicted noise and adds fresh noise.

    z' = (s'/s) z + (sqrt(v'^2 - c^2) - v s'/s) eps + c n, with s, v the signal and noise of the start, s', v' of the
    end: DDIM (Song et al. 2021, eq. 12) in the variables of Kingma et al. 2021.

    Args:
        timestep: t of the start, in training timesteps.
        start: of the noisier latents; if it has no signal, the step is singular.
        end: of the cleaner latents.
        added_noise: c, the standard deviation of the fresh noise; at most the end's noise.
    """
    ratio = quotient(end.signal, start.signal)
    down = max(end.noise**2 - added_noise**2, 0.0) ** 0.5
    return AffineStep(timestep, ratio, down - ratio * start.noise, added_noise, start, end)


def quotient(numerator: float, denominator: float) -> float:
    """Return the quotient of two numbers above or at 0; infinity for a denominator of 0."""
    return numerator / denominator if denominator else math.inf
