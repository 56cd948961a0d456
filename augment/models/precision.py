"""Whether a device has half precision of its own. One without it computes with it, too, but emulates it."""

from __future__ import annotations

import logging

import torch

logger = logging.getLogger(__name__)


def has_bfloat16(device: str) -> bool:
    """Return whether a device computes bfloat16 in its own units.

    A GPU of before Ampere has none, nor has a CPU without AVX-512 (or, on ARM, BF16); measured on an AVX2 one, the
    embedded UNet is 16 times as slow in bfloat16 as in float32, and the small classifier 8 times.

    Args:
        device: `cpu` or `cuda...`.
    """
    if device.startswith("cuda"):
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    # What torch's own compiler asks before it hands bfloat16 to oneDNN; torch has no public name for it.
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _has_float16(device: str) -> bool:
    if device.startswith("cuda"):
        return True
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_fp16_supported())


def warn_of_emulation(device: str, dtype: str, key: str) -> None:
    """Log a warning if a device emulates the dtype that was asked for.

    Args:
        device: `cpu` or `cuda...`.
        dtype: as the config has it.
        key: of the config that has it.
    """
    if (dtype == "bfloat16" and not has_bfloat16(device)) or (dtype == "float16" and not _has_float16(device)):
        logger.warning(
            "%s is %s, which this %s has no units for: it is emulated, several times slower than float32; set "
            "%s: float32",
            *(key, dtype, "GPU" if device.startswith("cuda") else "CPU", key),
        )


def fast_autocast(device: str = "cpu") -> torch.autocast:
    """Return the context in which networks compute in bfloat16 where a device has it, elsewhere in float32."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=has_bfloat16(device))
