"""The embedded model, and every family at toy size, on a CUDA device: `pytest -m gpu`."""

from __future__ import annotations

import pytest
import torch

from augment.editing import EditConfig, Objects, edit
from augment.models.config import ModelConfig
from augment.models.load import load_model
from augment.tiny.evaluate import load_split
from tests import pipelines
from tests.models.checks import PROMPTS, pictures

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


def flux_schnell():
    return pipelines.flux(guidance_embeds=False, use_dynamic_shifting=False)


FAMILIES = [
    pipelines.stable_diffusion,
    pipelines.latent_consistency,
    pipelines.stable_diffusion_xl,
    pipelines.stable_diffusion_3,
    flux_schnell,
]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_inversion_on_a_gpu_agrees_with_the_cpu(dtype):
    val = load_split("val", limit=8)
    prompts = [[c] for c in val.captions]
    on_gpu = edit(
        load_model(ModelConfig(device="cuda", dtype=dtype)), val.images.cuda(), val.captions, prompts, EditConfig()
    )
    on_cpu = edit(load_model(ModelConfig()), val.images, val.captions, prompts, EditConfig())
    tolerance = 0.05 if dtype == "float32" else 1.0  # dB; residuals are float32, the network is not
    assert on_gpu.psnr == pytest.approx(on_cpu.psnr, abs=tolerance)
    assert on_gpu.vae_psnr == pytest.approx(on_cpu.vae_psnr, abs=tolerance)


@pytest.mark.parametrize(
    ("preserve", "replaced"),
    [("none", 0.0), ("none", 0.5), ("attention", 0.0), ("attention", 1.0), ("difference", 0.0)],
)
@pytest.mark.parametrize("make", FAMILIES, ids=lambda make: make.__name__)
def test_edits_of_every_family_agree_with_the_cpu(make, preserve, replaced, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # its rounding is a thousandth of a picture
    make().save_pretrained(tmp_path)
    results = []
    for device in ("cuda", "cpu"):
        model = load_model(ModelConfig(name=str(tmp_path), device=device))
        config = EditConfig(
            sampler=model.default_sampler,
            num_steps=4,
            strength=0.5,
            guidance_scale=1.5,
            preserve=preserve,
            self_replace_steps=replaced,
            solver={"name": "anderson"},
            stop={"max_steps": 40, "tolerance": 1e-5},
        )
        words = Objects(("fox", "owl") if preserve == "attention" else ())
        targets = [["snow"], ["a fox"]]
        results.append(edit(model, pictures().to(device), PROMPTS, targets, config, seeds=[1, 2], objects=words))
    on_gpu, on_cpu = results
    assert on_gpu.status == on_cpu.status
    torch.testing.assert_close(on_gpu.reconstruction.cpu(), on_cpu.reconstruction, rtol=0, atol=2e-3)
    for ours, theirs in zip(on_gpu.edits, on_cpu.edits, strict=True):
        torch.testing.assert_close(ours.cpu(), theirs, rtol=0, atol=5e-3)
