"""What a worker does when the memory of its device runs out."""

from __future__ import annotations

import gc

import torch

from augment.models.interface import LatentDiffusion


def release_memory() -> None:
    """Return memory that nothing uses to the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def device_kind(device: torch.device) -> str:
    """Return what tells devices apart that differ in their memory: the name, and the bytes, of a GPU."""
    if device.type != "cuda":
        return device.type
    properties = torch.cuda.get_device_properties(device)
    return f"{properties.name}, {properties.total_memory} bytes"


def halved_at_once(model: LatentDiffusion, edits: int) -> bool:
    """Halve the edits that a model makes together, and return whether there were more than one call takes.

    Fewer than the rows of a call would save nothing: calls are filled up to their rows.

    Args:
        model: with its rows limited.
        edits: of the batch that did not fit.
    """
    now, least = min(model.edits_at_once or edits, edits), model.rows or 1
    if now <= least:
        return False
    model.edits_at_once = max(least, -(-now // 2))
    return True
