"""How much of their time simulated GPUs are at work, and what a unit costs the driver, by the number of workers.

python -m jobs.benchmark_scaling --workers 1 4 16 64 --out out/benchmark_scaling

Everything is real but the model: Ray, the pool, decoding, encoding, parts, commits. The model sleeps for a trace of
batch times, as a process does that waits for its GPU. Busy share is its seconds over these and those in which it had
nothing to do between two batches. The last row has a model that takes no time: how fast the driver feeds; what it made
is then published and verified. More workers than a machine can hold are estimated from what one look at all their units
costs the driver (`--in-flight`).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import time
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from augment.dataset.publish import publish
from augment.dataset.shards import ShardLimits
from augment.dataset.verify import verify
from augment.distribute.config import RunConfig
from augment.distribute.ray_workers import run_ray
from augment.distribute.wait_cost import wait_cost
from augment.editing.config import EditConfig
from augment.filters import FilterConfig, judge_edit
from augment.inputs.images import encode_png
from augment.ledger.ledger import Ledger
from augment.ledger.plan import cut_units
from augment.models.config import ClipConfig, ModelConfig
from augment.run.simulate import SimulatedEditor
from augment.run.worker import Worker
from augment.run.worker_config import WorkerConfig
from augment.storage.tar import write_bytes_atomic
from augment.types import (
    PlannedSource,
    Source,
    Unit,
    Variant,
)

# Seconds of successive batches: a mean of 1.25 s with the unevenness of a stop per image.
TRACE = (1.0, 1.1, 1.6, 1.0, 1.3, 1.2, 1.9, 1.0, 1.1, 1.3)
BATCH, BATCHES_PER_UNIT, VARIANTS, SIZE = 4, 4, 4, 64


def measure(workers: int, units_per_worker: int, trace: Sequence[float], out: Path) -> dict[str, Any]:
    """Run one number of workers and return its row of the table; seconds of CPU are this process's, the driver's."""
    shutil.rmtree(out, ignore_errors=True)
    class_names = {0: "fox"}
    units = _units(out, workers * units_per_worker)
    plan = Ledger(out).write_plan({}, units, class_names)
    config = WorkerConfig(
        model=ModelConfig(),
        editing=EditConfig(),
        clip=ClipConfig(),
        image_size=SIZE,
        class_names=class_names,
        seed=0,
        config_hash=plan.config_hash,
        pixels_hash=plan.pixels_hash,
        output=str(out),
        batch_size=BATCH,
        threads=1,
    )
    run = RunConfig(num_workers=workers)
    began, seconds, committed = 0.0, dict[str, float](), 0
    cpu, finished = 0.0, 0.0
    make_editor = partial(SimulatedEditor, seconds_per_batch=trace)
    for report in run_ray(config, units, run, partial(Worker, make_editor=make_editor)):
        now = time.monotonic()
        if committed == 0:
            began, cpu = now, time.process_time()  # workers are up: what follows is the steady state
        committed, finished = committed + 1, now
        for stage, value in report.seconds.items():
            seconds[stage] = seconds.get(stage, 0.0) + value
    cpu_per_unit = (time.process_time() - cpu) / max(1, committed - 1)
    model, idle = seconds.get("model", 0.0), seconds.get("idle", 0.0)
    return {
        "workers": workers,
        "units": committed,
        "busy_share": model / (model + idle) if model + idle else 0.0,
        "units_per_second": (committed - 1) / (finished - began),
        "driver_cpu_ms_per_unit": 1000 * cpu_per_unit,
        "seconds_by_stage_per_unit": {stage: value / committed for stage, value in sorted(seconds.items())},
    }


def publish_and_verify(out: Path) -> dict[str, Any]:
    """Measure the seconds after the last unit: reading commit markers, as every start does, publishing, verifying.

    Those of the CPUs are of this process and of those that it has started meanwhile.
    """
    ledger, times, cpu = Ledger(out), [time.monotonic()], [_cpu_seconds()]
    units = len(ledger.committed())
    times.append(time.monotonic())
    cpu.append(_cpu_seconds())
    filters = FilterConfig()
    judge = partial(judge_edit, config=filters)
    with ledger.lock():
        publish(ledger, judge=judge, judge_settings=filters.model_dump(mode="json"), limits=ShardLimits())
    times.append(time.monotonic())
    cpu.append(_cpu_seconds())
    found = verify(out)
    times.append(time.monotonic())
    cpu.append(_cpu_seconds())
    if not found.ok:
        raise RuntimeError(f"{out}: {found.problems}")
    size = sum(path.stat().st_size for folder in ("shards", "rejected") for path in (out / folder).glob("*.tar"))
    names = ("markers", "finalize", "verify")
    seconds = {f"{name}_seconds": b - a for name, (a, b) in zip(names, pairwise(times), strict=True)}
    seconds |= {f"{name}_cpu_seconds": b - a for name, (a, b) in zip(names, pairwise(cpu), strict=True)}
    return {"units": units, "edits": found.planned, "shard_bytes": size, **seconds}


def _cpu_seconds() -> float:
    """Return the seconds of CPU that this process has used, and the children that have ended."""
    return sum(os.times()[:4])


def _units(out: Path, count: int) -> list[Unit]:
    """Return units of noise pictures; all sources read the same few files."""
    random = np.random.default_rng(0)
    files = []
    for i in range(BATCH):
        path = out / "input" / f"{i}.png"
        write_bytes_atomic(path, encode_png(random.integers(0, 256, (SIZE, SIZE, 3), np.uint8)))
        files.append(path)
    variants = tuple(Variant(v, f"a fox in place {v}") for v in range(VARIANTS))
    per_unit = BATCH * BATCHES_PER_UNIT
    planned = (
        PlannedSource(Source(f"s{i:07d}", str(files[i % BATCH].absolute()), 1, 0, "fox"), "a fox", variants)
        for i in range(count * per_unit)
    )
    return list(cut_units(planned, per_unit))


def lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the table in Markdown."""
    head = ["| workers | units | busy | units/s | driver CPU per unit |", "|---|---|---|---|---|"]
    return head + [
        f"| {row['name']} | {row['units']} | {row['busy_share']:.1%} | {row['units_per_second']:.2f} | "
        f"{row['driver_cpu_ms_per_unit']:.1f} ms |"
        for row in rows
    ]


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 4, 16, 64])
    parser.add_argument("--units-per-worker", type=int, default=5)
    parser.add_argument("--feed-units", type=int, default=400, help="units of the row without model time; 0: no row")
    parser.add_argument("--in-flight", type=int, nargs="*", default=[8, 128, 2000], help="units the driver waits for")
    parser.add_argument("--out", type=Path, default=Path("out/benchmark_scaling"))
    options = parser.parse_args()
    rows, published = [], None
    for workers in options.workers:
        row = measure(workers, options.units_per_worker, TRACE, options.out / "run")
        rows.append(row | {"name": str(workers)})
        print(lines(rows)[-1], flush=True)
    if options.feed_units:
        row = measure(4, options.feed_units // 4, (), options.out / "run")
        rows.append(row | {"name": "4, no model time"})
        published = publish_and_verify(options.out / "run")
    shutil.rmtree(options.out / "run", ignore_errors=True)
    waits = [{"in_flight": count, "driver_cpu_ms": 1000 * wait_cost(count)} for count in options.in_flight]
    machine = {"cpus": os.cpu_count(), "machine": platform.platform()}
    report = {"trace": TRACE, **machine, "rows": rows, "waits": waits, "published": published}
    write_bytes_atomic(options.out / "report.json", (json.dumps(report, indent=2) + "\n").encode())
    print("\n".join(lines(rows)))
    if published:
        print(
            "{units} units, {edits} edits, {shard_bytes} bytes of shards: markers read in {markers_seconds:.2f} s, "
            "published in {finalize_seconds:.1f} s ({finalize_cpu_seconds:.1f} s of CPU), verified in "
            "{verify_seconds:.1f} s ({verify_cpu_seconds:.1f} s of CPU)".format_map(published)
        )
    for row in waits:
        print(f"one wait over {row['in_flight']} units in flight: {row['driver_cpu_ms']:.2f} ms of driver CPU")


if __name__ == "__main__":
    main()
