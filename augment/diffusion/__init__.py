"""Samplers as tables of affine steps: what a sampler is, without any scheduler object."""

from augment.diffusion.denoiser import Denoiser, guided
from augment.diffusion.noise import matched_noise, seeded_noise, step_noise
from augment.diffusion.sampler import sample
from augment.diffusion.schedule import (
    Schedule,
    ddim,
    euler,
    euler_ancestral,
    flow_euler,
    lcm,
)
from augment.diffusion.slerp import lerp, slerp
from augment.diffusion.step import CLEAN, AffineStep, Level

__all__ = [
    "CLEAN",
    "AffineStep",
    "Denoiser",
    "Level",
    "Schedule",
    "ddim",
    "euler",
    "euler_ancestral",
    "flow_euler",
    "guided",
    "lcm",
    "lerp",
    "matched_noise",
    "sample",
    "seeded_noise",
    "slerp",
    "step_noise",
]
