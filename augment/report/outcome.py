"""What the manifest of a finished run says: its counts, and what went wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_COUNTS = ("planned", "accepted", "rejected", "failed", "shards", "reasons")
_QUALITY = ("mean_reconstruction_psnr", "mean_vae_psnr")


def counts(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of a manifest that sum a run up."""
    return {name: manifest[name] for name in (*_COUNTS, *_QUALITY)}


def decibels(value: float | None) -> str:
    """Return a mean PSNR of a manifest as `27.54 dB`; `-` if it is None, as where no image was inverted."""
    return "-" if value is None else f"{value:.2f} dB"


def problems(manifest: Mapping[str, Any], out: str) -> list[str]:
    """Return the reasons why a finished run must not be called a success, one line each."""
    rows, again = f"the reasons are in {out}/index.parquet", "--retry-failed tries them again"
    if manifest["planned"] and manifest["failed"] == manifest["planned"]:
        return [f"every edit failed; {rows}"]
    found = []
    if not manifest["accepted"]:
        dropped = ", ".join(f"{count} by {reason}" for reason, count in manifest["reasons"].items())
        found.append(
            f"no edit was accepted, so there is nothing to train on ({dropped}); {rows}, the pictures in "
            f"{out}/report.html; `augment finalize {out} -o filters.NAME=VALUE` publishes again under other thresholds"
        )
    if lost := manifest["reasons"].get("failed: worker"):
        found.append(f"{lost} edits were given up because no worker survived their units; {rows}; {again}")
    if lost := manifest["reasons"].get("failed: quarantine"):
        found.append(f"{lost} edits of inputs that kill workers were not made; {rows}; {again}")
    return found
