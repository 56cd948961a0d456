"""Whether several processes have trained as one does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file


def assert_same_but_for_rounding(out: Path, alone: Path, atol: float = 1e-4) -> None:
    """Two runs of ten steps: the same figures and close weights. Sums over parts of a batch are rounded otherwise."""
    mine, other = (json.loads((folder / "report.json").read_text()) for folder in (out, alone))
    for name in ("steps", "best_step", "samples", "synthetic_samples", "pictures"):
        assert mine[name] == other[name]
    for row, expected in zip(mine["history"], other["history"], strict=True):
        assert row == pytest.approx(expected, abs=1e-3)
    weights, expected = load_file(out / "model.safetensors"), load_file(alone / "model.safetensors")
    torch.testing.assert_close(weights, expected, rtol=1e-3, atol=atol)
