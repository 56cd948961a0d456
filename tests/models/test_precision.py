"""bfloat16 where the device has it: what is chosen, and what is said where it is emulated."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
import torch

from augment.models import precision
from augment.models.config import ModelConfig
from augment.models.load import load_model
from augment.training.config import TrainingConfig
from augment.training.step import arithmetic, in_bfloat16


def on_a_device(monkeypatch: pytest.MonkeyPatch, has: bool) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: has)
    monkeypatch.setattr("augment.training.step.has_bfloat16", lambda device: has)


@pytest.mark.parametrize(
    ("dtype", "has", "chosen"),
    [("auto", True, True), ("auto", False, False), ("bfloat16", False, True), ("float32", True, False)],
)
def test_auto_is_bfloat16_where_the_device_has_it(
    monkeypatch: pytest.MonkeyPatch, dtype: str, has: bool, chosen: bool
) -> None:
    on_a_device(monkeypatch, has)
    config = TrainingConfig.model_construct(device="cpu", dtype=dtype)
    assert in_bfloat16(config) is chosen
    with arithmetic(config):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (torch.bfloat16 if chosen else torch.float32)


@pytest.mark.parametrize("has", [True, False])
def test_networks_that_judge_compute_in_what_is_fast(monkeypatch: pytest.MonkeyPatch, has: bool) -> None:
    on_a_device(monkeypatch, has)
    with precision.fast_autocast():
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (torch.bfloat16 if has else torch.float32)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_model_that_is_emulated_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, dtype: Literal["bfloat16", "float16"]
) -> None:
    on_a_device(monkeypatch, False)
    monkeypatch.setattr(precision, "_has_float16", lambda device: False)
    load_model(ModelConfig())
    assert not caplog.messages
    load_model(ModelConfig(dtype=dtype))
    (message,) = [message for message in caplog.messages if message.startswith("model.dtype")]  # diffusers warns, too
    assert message.startswith(f"model.dtype is {dtype}, which this CPU has no units for")
    assert message.endswith("set model.dtype: float32")


def test_a_cpu_without_avx512_or_arm_bf16_has_none() -> None:
    """By what Linux says of the processor, where it says something."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        pytest.skip("no /proc/cpuinfo here")
    if "avx2" not in flags and "bf16" not in flags:
        pytest.skip("not a processor that this test knows")
    wanted = {"avx512f", "avx512bw", "avx512vl", "avx512dq"} <= flags if "avx2" in flags else "bf16" in flags
    if "avx2" in flags and not wanted and {"avx_ne_convert", "avx10"} & flags:
        pytest.skip("AVX2 with bfloat16 of its own")
    assert precision.has_bfloat16("cpu") is wanted
