"""Deterministic samplers as tables of affine steps: what a sampler is, without any scheduler object."""

from augment.diffusion.denoiser import Denoiser, guided
from augment.diffusion.sampler import sample
from augment.diffusion.schedule import Schedule, ddim
from augment.diffusion.step import AffineStep

__all__ = ["AffineStep", "Denoiser", "Schedule", "ddim", "guided", "sample"]
