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
    assert message.startswith(f"model.dtype is {dtype}, which this CPU does not compute in hardware")
    assert message.endswith("set model.dtype: float32")


def test_a_cpu_has_what_linux_says_of_it() -> None:
    """Only where Linux says something, and for the processors that the name of a flag is known of."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        pytest.skip("no /proc/cpuinfo here")
    if not {"avx2", "asimd"} & flags:
        pytest.skip("not a processor that this test knows")
    assert precision.has_bfloat16("cpu") is bool({"avx512_bf16", "amx_tile", "bf16"} & flags)


@pytest.mark.parametrize(("generation", "hip", "has"), [(7, None, False), (8, None, True), (9, "6.4", True)])
def test_a_gpu_older_than_ampere_has_none(
    monkeypatch: pytest.MonkeyPatch, generation: int, hip: str | None, has: bool
) -> None:
    asked = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: asked.append(device) or (generation, 0))
    monkeypatch.setattr(torch.version, "hip", hip)
    assert precision.has_bfloat16("cuda:1") is has
    assert asked == ([] if hip else ["cuda:1"])
