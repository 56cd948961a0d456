"""The embedded model on a CUDA device: `pytest -m gpu`."""

from __future__ import annotations

import pytest
import torch

from augment.editing import EditConfig, edit
from augment.models.config import ModelConfig
from augment.models.load import load_model
from augment.tiny.evaluate import load_split

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


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
