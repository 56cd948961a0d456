"""Which devices compute half precision in hardware. Others emulate it, slowly."""

from __future__ import annotations

import logging
import platform

import torch

logger = logging.getLogger(__name__)
_AMPERE = 8  # the first generation of NVIDIA's GPUs with bfloat16


def has_bfloat16(device: str) -> bool:
    """Return whether a device computes bfloat16 in hardware.

    A GPU older than Ampere does not, nor does a CPU without AVX512-BF16 or AMX (on ARM: without BF16). Measured on a
    CPU with AVX2 alone: the embedded UNet is 16 times as slow in bfloat16 as in float32, the small classifier 8 times.

    Args:
        device: `cpu` or `cuda...`.
    """
    if device.startswith("cuda"):
        if not torch.cuda.is_available():
            return False
        return torch.version.hip is not None or torch.cuda.get_device_capability(device)[0] >= _AMPERE
    # torch has no public names for these questions.
    if platform.machine() in ("x86_64", "AMD64"):
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
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
            "%s is %s, which this %s does not compute in hardware: it is emulated, several times slower than float32; "
            "set %s: float32",
            *(key, dtype, "GPU" if device.startswith("cuda") else "CPU", key),
        )


def fast_autocast(device: str = "cpu") -> torch.autocast:
    """Return the context in which networks compute in bfloat16 where a device has it, elsewhere in float32."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=has_bfloat16(device))
