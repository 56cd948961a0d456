"""Metrics of each worker for Prometheus, exported by the metrics agent that runs on every node of a Ray.

Ray exports a counter `augment_x` as `ray_augment_x_total` and a gauge as `ray_augment_x`, and adds labels of its own
(`WorkerId`, `NodeAddress`, `SessionName`). Counts are lost with their node; totals are read from the ledger.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ray.util.metrics import Counter, Gauge

from augment.types import UnitReport


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric as it is declared to Ray.

    Attributes:
        kind: whether it only grows.
        description: what it measures, with its unit.
        tags: names of its labels.
    """

    kind: Literal["counter", "gauge"]
    description: str
    tags: tuple[str, ...] = ()


METRICS: Mapping[str, Metric] = {
    "augment_units": Metric("counter", "units committed"),
    "augment_edits": Metric(
        "counter",
        "edits by status, `edited`, `kept` of an earlier run, or `failed`; the stage is that of a failure",
        ("status", "stage"),
    ),
    "augment_provisional": Metric(
        "counter", "edits by verdict under the current thresholds: `accepted`, or the score too low", ("verdict",)
    ),
    "augment_seconds": Metric("counter", "seconds of the worker by stage; stages may overlap", ("stage",)),
    "augment_psnr_db": Metric("gauge", "mean PSNR of the last unit's reconstructions"),
    "augment_psnr_gap_db": Metric("gauge", "how far that is below the autoencoder's own round trip"),
    "augment_batch_size": Metric("gauge", "images that fit into memory at once, as far as the worker knows"),
    "augment_memory_bytes": Metric(
        "gauge", "memory by kind: `rss`, and on a GPU `cuda_allocated`, `cuda_reserved`, `cuda_peak`", ("kind",)
    ),
}


def exported_name(name: str) -> str:
    """Return the name that a metric of `METRICS` has in Prometheus."""
    return f"ray_{name}_total" if METRICS[name].kind == "counter" else f"ray_{name}"


class WorkerMetrics:
    """Reports the metrics of one worker to Ray. Create it inside the worker's actor."""

    def __init__(self) -> None:
        kinds = {"counter": Counter, "gauge": Gauge}
        self._metrics = {name: kinds[m.kind](name, m.description, m.tags) for name, m in METRICS.items()}

    def observe(self, report: UnitReport) -> None:
        """Add a committed unit to the metrics."""
        self._add("augment_units", 1)
        self._add("augment_edits", report.edited - report.kept, status="edited", stage="")
        self._add("augment_edits", report.kept, status="kept", stage="")
        for stage, edits in report.failed_by_stage.items():
            self._add("augment_edits", edits, status="failed", stage=stage)
        for verdict, edits in report.provisional.items():
            self._add("augment_provisional", edits, verdict=verdict)
        for stage, seconds in report.seconds.items():
            self._add("augment_seconds", seconds, stage=stage)
        if report.inverted:
            self._metrics["augment_psnr_db"].set(report.psnr_sum / report.inverted)
            self._metrics["augment_psnr_gap_db"].set((report.vae_psnr_sum - report.psnr_sum) / report.inverted)
        if report.batch_size:
            self._metrics["augment_batch_size"].set(report.batch_size)

    def observe_memory(self) -> None:
        """Set the memory gauges. A dashboard counts the workers that are alive by their `rss`."""
        for kind, size in memory_bytes().items():
            self._metrics["augment_memory_bytes"].set(size, {"kind": kind})

    def _add(self, name: str, amount: float, **tags: str) -> None:
        if amount > 0:  # Ray raises for an increment of 0
            self._metrics[name].inc(amount, tags)


def memory_bytes() -> dict[str, int]:
    """Return the memory of this process in bytes by kind; that of the GPU only if the process uses one already."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    memory = {"rss": pages * os.sysconf("SC_PAGE_SIZE")}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        memory |= {
            "cuda_allocated": torch.cuda.memory_allocated(),
            "cuda_reserved": torch.cuda.memory_reserved(),
            "cuda_peak": torch.cuda.max_memory_allocated(),
        }
    return memory
