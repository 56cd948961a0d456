"""One step of a first-order deterministic sampler: affine in the latents and the predicted noise."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class AffineStep:
    """z' = a z + b eps(z, t) + c n, from the noisier latents z at timestep t to the cleaner z'.

    Sampling applies it; inversion solves it for z. Both read the same numbers, so they cannot drift apart.

    Attributes:
        timestep: t, in the units of the network's training timesteps.
        a, b, c: the three coefficients; c is 0 unless the sampler adds noise n, which is fixed in advance.
        prior_scale, prior_variance: of the forward process q(z | z') = N(prior_scale z', prior_variance I), which is
            RNRI's prior over z (Samuel et al. 2025, section 4.2).
    """

    timestep: float
    a: float
    b: float
    c: float
    prior_scale: float
    prior_variance: float

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
