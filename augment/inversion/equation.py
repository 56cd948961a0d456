"""The implicit equation of one inversion step, z = f(z), with its evaluations counted."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from augment.diffusion.denoiser import Denoiser
from augment.diffusion.sampler import batch_timesteps
from augment.diffusion.step import AffineStep


class Cost(NamedTuple):
    """What was asked of the network.

    Attributes:
        forward, jvp, vjp: evaluations, Jacobian-vector and vector-Jacobian products *per sample*; with guidance one
            call is two of them.
        calls: passes through the network one after another, forward or derivative, whatever their size: the latency.
        rows: latents that went through it, summed over the calls: the batch's work.
    """

    forward: int = 0
    jvp: int = 0
    vjp: int = 0
    calls: int = 0
    rows: int = 0

    def minus(self, earlier: Cost) -> Cost:
        """Return what was spent since `earlier`."""
        return Cost(*(now - then for now, then in zip(self, earlier, strict=True)))


class StepEquation:
    """Pose z = f(z) for one step of the table: f(z) = (z' - b eps(z, t) - c n) / a.

    Samples are independent; everything is float32 around whatever dtype the network runs in. `cost` counts what was
    asked of the network for this (sub)batch.

    Args:
        eps_fn: the denoiser.
        step: the affine step to invert.
        after: z', the cleaner latents that the step has to produce, [B, C, H, W].
        noise: the noise n that the sampler adds in this step, [B, C, H, W], or None.
        clean: x, the clean latents at the end of the schedule, [B, C, H, W]; None where that is z', as in the first
            inverted step.
    """

    def __init__(
        self,
        eps_fn: Denoiser,
        step: AffineStep,
        after: Tensor,
        noise: Tensor | None = None,
        clean: Tensor | None = None,
    ) -> None:
        self.eps_fn = eps_fn
        self.step = step
        self.after = after.float()
        self.noise = noise
        self.clean = self.after if clean is None else clean.float()
        self.cost = Cost()

    def select(self, index: Tensor) -> StepEquation:
        """Return the equation of some of the samples, counting from zero; `index` is int64 [n]."""
        noise = None if self.noise is None else self.noise[index]
        return StepEquation(self.eps_fn.select(index), self.step, self.after[index], noise, self.clean[index])

    def eps(self, z: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Return the network's prediction eps(z, t): one forward evaluation."""
        self._count(z, forward=1)
        return self.eps_fn(z, batch_timesteps(self.step.timestep, z)).float()

    def f_of_eps(self, eps: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Return f(z), given eps = eps(z, t): no evaluation."""
        return self.step.solve_linear(self.after, eps, self.noise)

    def gradient(self, value: Float[Tensor, " B"], z: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Return d value / d z through the network: one vector-Jacobian product (a backward pass)."""
        self._count(z, vjp=1)
        return torch.autograd.grad(value.sum(), z)[0]

    def directional(self, z: Float[Tensor, "B C H W"], direction: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Return the derivative of f at z along a direction: one Jacobian-vector product, in forward mode."""
        self._count(z, jvp=1)
        t = batch_timesteps(self.step.timestep, z)
        # The fused attention kernels have no forward-mode derivative.
        with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
            # torch scripts its own forward-mode rules on first use, and warns of torch.jit.script
            warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)
            tangent = torch.func.jvp(lambda x: self.eps_fn(x, t).float(), (z,), (direction,))[1]
        return (-self.step.b / self.step.a) * tangent

    def error(self, residual: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Return the error that residuals cause: |a| residual / sqrt(s'), root mean square. `Stop.tolerance` bounds it.

        Sampling takes z to z' + a (z - f(z)), so it misses z' by |a| times the residual. What is left of that in the
        image depends on how the image varies in its direction, by sigma: over s' it would be all of it, where sigma is
        far above the noise-to-signal ratio v'/s'; where latents are white and of unit variance it is the miss itself,
        s' times as much (the flow of a Gaussian shrinks errors by sigma / sqrt(sigma^2 + v'^2 / s'^2)). Images are
        between the two, and so is the square root; it was chosen by measurement.
        """
        return residual * (abs(self.step.a) / self.step.end.signal**0.5)

    def prior_deviation(self, z: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Return z - mu, with mu the mean of the forward process q(z | z') (Samuel et al. 2025, section 4.2)."""
        return z - self.step.start.signal / self.step.end.signal * self.after

    @property
    def prior_variance(self) -> float:
        """Return beta of q(z | z') = N(mu, beta I): mu = (s/s') z', beta = v^2 - (s v'/s')^2 (Kingma et al. 2021)."""
        start, end = self.step.start, self.step.end
        return start.noise**2 - (start.signal / end.signal * end.noise) ** 2

    def prior(self, z: Float[Tensor, "B C H W"]) -> Float[Tensor, " B"]:
        """Return RNRI's G(z) = |z - mu|^2 / (2 beta): minus the logarithm of q(z | z'), up to a constant."""
        return self.prior_deviation(z).square().sum(dim=(1, 2, 3)) / (2.0 * self.prior_variance)

    def _count(self, z: Tensor, forward: int = 0, jvp: int = 0, vjp: int = 0) -> None:
        n = self.eps_fn.evaluations
        c = self.cost
        self.cost = Cost(c.forward + n * forward, c.jvp + n * jvp, c.vjp + n * vjp, c.calls + 1, c.rows + n * len(z))


def rms(x: Float[Tensor, "B C H W"]) -> Float[Tensor, " B"]:
    """Return the root mean square of each sample: latents have unit scale, whatever their size."""
    return x.square().mean(dim=(1, 2, 3)).sqrt()


def inner(vectors: Float[Tensor, "B k D"], w: Float[Tensor, "B D"]) -> Float[Tensor, "B k"]:
    """Return the inner product of each sample's vectors with its w, rounded alike in a batch of any size.

    A matrix product is not: for a batch of one, which is what is left when all others have finished, the library takes
    another kernel.
    """
    return (vectors * w[:, None]).sum(dim=2)
