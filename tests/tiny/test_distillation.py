"""Distillation of the student: it starts as its teacher, and the loss is zero where it should be."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from augment.models.stable_diffusion import guidance_embedding
from augment.tiny.distillation import HUBER, distillation_loss, student_from
from augment.tiny.networks import (
    GUIDANCE_WIDTH,
    LATENT_CHANNELS,
    build_student_scheduler,
    build_tokenizer,
    build_unet,
)
from augment.tiny.stages import SceneCache, SceneLatents
from augment.tiny.training import StepRandom

ALPHAS = build_student_scheduler().alphas_cumprod
PICTURE = torch.randn(LATENT_CHANNELS, 8, 8, generator=torch.Generator().manual_seed(1))


class Knows(nn.Module):
    """A denoiser that knows the one picture there is; `shift` spoils its answer of the clean latents."""

    def __init__(self, shift: float = 0.0) -> None:
        super().__init__()
        self.shift = shift
        self.asked: list[int] = []

    def forward(self, z, t, hidden, timestep_cond=None):
        self.asked += t.tolist()
        alpha = ALPHAS[t].view(-1, 1, 1, 1)
        return SimpleNamespace(sample=(z - alpha.sqrt() * (PICTURE + self.shift)) / (1 - alpha).sqrt())


def loss_of(student, stride=100, teacher=None):
    cache = SceneCache(torch.zeros(3, 64, 64, 3, dtype=torch.uint8), torch.zeros(3, 5, dtype=torch.int64))
    conditioned = SimpleNamespace(unet=teacher or Knows(), text_encoder=lambda ids: (torch.zeros(len(ids), 16, 128),))
    loss = distillation_loss(
        SceneLatents(PICTURE.expand(3, LATENT_CHANNELS, 8, 8).half(), torch.zeros(3, LATENT_CHANNELS, 8, 8).half()),
        cache,
        build_tokenizer(["a"]),
        conditioned,
        guidance_max=5.0,
        stride=stride,
    )
    return float(loss(student, StepRandom(0, "student", 0), 64))


def test_the_loss_is_zero_for_a_consistent_student():
    # half-precision latents and the boundary condition's c_skip leave a little
    assert loss_of(Knows()) < 2e-3


def test_a_student_that_contradicts_its_teacher_at_the_end_of_the_trajectory_pays_for_it():
    # With a stride of the whole trajectory the target is the teacher's clean picture, whatever the student says.
    value = loss_of(Knows(shift=0.5), stride=1000)
    assert value == pytest.approx(0.5 - HUBER, rel=0.01)


def test_the_student_is_asked_on_the_grid_it_is_sampled_on():
    student = Knows()
    loss_of(student, stride=20)
    visited = {t for t in student.asked if t > 0}
    assert visited <= set(range(19, 1000, 20))
    scheduler = build_student_scheduler()
    scheduler.set_timesteps(4)
    assert set(scheduler.timesteps.tolist()) <= set(range(19, 1000, 20))


def test_the_student_begins_as_its_teacher_at_every_guidance_scale():
    torch.manual_seed(0)
    teacher = build_unet().eval()
    student = student_from(teacher, build_unet(time_cond_proj_dim=GUIDANCE_WIDTH)).eval()
    z, t, hidden = torch.randn(2, LATENT_CHANNELS, 8, 8), torch.tensor([10, 900]), torch.randn(2, 16, 128)
    condition = guidance_embedding(torch.tensor([1.0, 4.5]), GUIDANCE_WIDTH)
    with torch.no_grad():
        ours = student(z, t, hidden, timestep_cond=condition).sample
        torch.testing.assert_close(ours, teacher(z, t, hidden).sample)


def test_guidance_embedding_equals_that_of_diffusers():
    from diffusers import LatentConsistencyModelPipeline

    scales = torch.tensor([1.0, 2.5, 7.0])
    theirs = LatentConsistencyModelPipeline.get_guidance_scale_embedding(None, scales - 1.0, embedding_dim=64)
    torch.testing.assert_close(guidance_embedding(scales, 64), theirs, atol=1e-3, rtol=0)
