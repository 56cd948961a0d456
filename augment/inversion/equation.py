"""The implicit equation of one inversion step, z = f(z), with its evaluations counted."""

from __future__ import annotations

import warnings

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from augment.diffusion.denoiser import Denoiser
from augment.diffusion.sampler import batch_timesteps
from augment.diffusion.step import AffineStep


class StepEquation:
    """z = f(z) for one step of the table: f(z) = (z' - b eps(z, t) - c n) / a.

    Samples are independent; everything is float32 around whatever dtype the network runs in. `forward`, `jvp` and
    `vjp` count how often the network was evaluated and differentiated per sample of this (sub)batch; with guidance one
    call is two.

    Args:
        eps_fn: the denoiser.
        step: the affine step to invert.
        after: z', the cleaner latents that the step has to produce, [B, C, H, W].
        noise: the noise n that the sampler adds in this step, or None.
        log_snr: log of signal over noise of the latents z; only differences between steps matter.
    """

    def __init__(
        self, eps_fn: Denoiser, step: AffineStep, after: Tensor, noise: Tensor | None = None, log_snr: float = 0.0
    ) -> None:
        self.eps_fn = eps_fn
        self.step = step
        self.after = after.float()
        self.noise = noise
        self.log_snr = log_snr
        self.forward = 0
        self.jvp = 0
        self.vjp = 0

    def select(self, index: Tensor) -> StepEquation:
        """The equation of some of the samples, counting from zero; `index` is int64 [n]."""
        noise = None if self.noise is None else self.noise[index]
        return StepEquation(self.eps_fn.select(index), self.step, self.after[index], noise, self.log_snr)

    def eps(self, z: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """The network's answer at z: one forward evaluation."""
        self.forward += self.eps_fn.evaluations
        return self.eps_fn(z, batch_timesteps(self.step.timestep, z)).float()

    def f_of_eps(self, eps: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """f(z), given eps = eps(z, t): no evaluation."""
        return self.step.solve_linear(self.after, eps, self.noise)

    def gradient(self, value: Float[Tensor, " B"], z: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """d value / d z through the network: one vector-Jacobian product (a backward pass)."""
        self.vjp += self.eps_fn.evaluations
        return torch.autograd.grad(value.sum(), z)[0]

    def directional(self, z: Float[Tensor, "B C H W"], direction: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """The derivative of f at z along a direction: one Jacobian-vector product, in forward mode."""
        self.jvp += self.eps_fn.evaluations
        t = batch_timesteps(self.step.timestep, z)
        # The fused attention kernels have no forward-mode derivative.
        with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
            # torch scripts its own forward-mode rules on first use, and warns of torch.jit.script
            warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)
            tangent = torch.func.jvp(lambda x: self.eps_fn(x, t).float(), (z,), (direction,))[1]
        return (-self.step.b / self.step.a) * tangent

    def prior(self, z: Float[Tensor, "B C H W"]) -> Float[Tensor, " B"]:
        """RNRI's G(z) = |z - mu|^2 / (2 beta): minus the log of the forward process q(z | z'), up to a constant."""
        deviation = z - self.step.prior_scale * self.after
        return deviation.square().sum(dim=(1, 2, 3)) / (2.0 * self.step.prior_variance)


def rms(x: Float[Tensor, "B C H W"]) -> Float[Tensor, " B"]:
    """Root mean square per sample. Residuals are measured in it: latents have unit scale, whatever their size."""
    return x.square().mean(dim=(1, 2, 3)).sqrt()
