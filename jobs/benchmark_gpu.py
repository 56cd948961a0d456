"""Time inversion and edits of full-size pipelines with random weights on one GPU, without a download.

    python -m jobs.benchmark_gpu --shapes sdxl_turbo sd15 --batches 1 2 4 8 16 32 64 --size 512 --seconds 150
    python -m jobs.benchmark_gpu --render docs/gpu.md --report out/benchmark_gpu/report.json

Speed does not depend on the values of the weights, so random ones of the published sizes are timed. What does depend on
them is when an inversion may stop: here every image takes the same number of solver iterations at every step, without a
tolerance. Everything else is the preset of the model's family, run as `augment expand` runs it: every call of a network
has as many rows as the batch has images. `report.json` is written after every row; `--shapes toy toy_xl` runs on a CPU.
"""

from __future__ import annotations

import argparse
import gc
import importlib.metadata
import json
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch.utils.flop_counter import FlopCounterMode

from augment.diffusion import sample
from augment.editing import EditConfig, edit
from augment.editing.inverted import full_schedule, invert_latents
from augment.evaluation.gpu_page import gpu_page, gpu_table
from augment.evaluation.reconstruction import now
from augment.inversion.settings import Stop
from augment.inversion.solvers import SOLVERS
from augment.models.diffusers_model import DiffusersModel
from augment.models.load import DTYPES
from augment.models.random_weights import SIZES, preset_of_sizes, random_model
from augment.run.batch import is_out_of_memory
from augment.storage.tar import write_bytes_atomic
from augment.tiny.networks import build_tokenizer

T = TypeVar("T")
WORDS = ("a", "photo", "of", "fox", "in", "snow")
SOURCE, TARGET = "a photo of a fox", "a photo of a fox in snow"
VARIANTS = 4  # edits of each image, the default of `augment expand`
REPEATS, SECONDS_OF_REPEATS = 3, 12.0
FEW_STEPS = 8  # up to here the default's tolerance takes about four iterations per step, above it one or two
STAGES = ("encode", "invert", "edit", "decode", "end_to_end")


@dataclass(frozen=True)
class Row:
    """One batch size of one pipeline.

    Attributes:
        status: `ok`, `out of memory`, `failed` or `skipped`; all figures of the last three are None.
        note: why, or what to know about the figures.
        repeats: timed runs after one that was not; figures are medians of them.
        seconds: of each of `STAGES` for the whole batch. `edit` samples one edit of each image, `end_to_end` is
            `augment.editing.edit` with `VARIANTS` edits of each, which also decodes and reconstructs every image.
        images_per_second: encoded, inverted, decoded, and end to end.
        edits_per_second: sampled; end to end with all that belongs to them.
        peak_gib: memory of torch's allocator at the peak of `end_to_end`, weights included; None on a CPU.
        invert_mfu, edit_mfu: operations of the network per second over those of the matrix product.
        iterations_per_step: of the inversion, mean over images; less than asked for if values were not finite.
    """

    shape: str
    batch: int
    status: str
    note: str = ""
    repeats: int | None = None
    seconds: dict[str, float] | None = None
    images_per_second: dict[str, float] | None = None
    edits_per_second: dict[str, float] | None = None
    peak_gib: float | None = None
    invert_mfu: float | None = None
    edit_mfu: float | None = None
    iterations_per_step: float | None = None


@dataclass(frozen=True)
class Subject:
    """What is timed: a model, its settings, the operations of one row of its network and the device's bound."""

    shape: str
    model: DiffusersModel
    config: EditConfig
    flops: float
    bound: float
    size: int


@torch.no_grad()
def measure(subject: Subject, batch: int, seconds_left: float) -> Row:
    """Return the row of a batch size: one run to warm up, then as many as fit in a few seconds, three at most."""
    model, config, device = subject.model, subject.config, subject.model.device
    model.rows = batch
    images = torch.rand(batch, 3, subject.size, subject.size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    seeds, sources, full = range(batch), [SOURCE] * batch, full_schedule(model, config, subject.size)
    targets = [[f"{TARGET} {i}" for i in range(VARIANTS)]] * batch
    schedule = full.last_part(config.strength)
    source, target = model.embed(sources), model.embed([TARGET] * batch)

    end_to_end = partial(edit, model, images, sources, targets, config, seeds=seeds)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    _, warm_up = timed(device, end_to_end)
    peak = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None
    repeats = max(1, min(REPEATS, int(min(seconds_left - warm_up, SECONDS_OF_REPEATS) / (2 * warm_up))))
    runs = []
    for _ in range(repeats):
        latents, encode = timed(device, partial(model.encode, images))
        inverted, invert = timed(device, partial(invert_latents, model, latents, source, seeds, config, full))
        denoiser = model.denoiser(target, config.guidance_scale)
        start, noise = inverted.latents, inverted.noise
        edited, sampled = timed(device, partial(sample, denoiser, start, schedule, noise=noise))
        _, decode = timed(device, partial(model.decode, edited))
        runs.append((encode, invert, sampled, decode, timed(device, end_to_end)[1]))
    seconds = dict(zip(STAGES, map(statistics.median, zip(*runs, strict=True)), strict=True))
    iterations = inverted.iterations.float().mean().item() / len(schedule)
    short = iterations < config.stop.max_steps
    edit_rows = batch * len(schedule) * (1 if config.guidance_scale == 1.0 else 2)
    return Row(
        subject.shape,
        batch,
        "ok",
        note=f"values were not finite: {iterations:.2f} iterations instead of {config.stop.max_steps}" if short else "",
        repeats=repeats,
        seconds=seconds,
        images_per_second={stage: batch / seconds[stage] for stage in STAGES if stage != "edit"},
        edits_per_second={
            "edit": batch / seconds["edit"],
            "end_to_end": batch * VARIANTS / seconds["end_to_end"],
        },
        peak_gib=peak,
        invert_mfu=inverted.rows * subject.flops / seconds["invert"] / subject.bound,
        edit_mfu=edit_rows * subject.flops / seconds["edit"] / subject.bound,
        iterations_per_step=iterations,
    )


def timed(device: torch.device, call: Callable[[], T]) -> tuple[T, float]:
    """Return what a call gives, and the seconds until the device had done it."""
    began = now(device)
    result = call()
    return result, now(device) - began


def rows_of(make: Callable[[], Subject], shape: str, batches: Sequence[int], deadline: float) -> Iterator[Row]:
    """Yield the row of every batch size, the smallest first.

    A batch is skipped if the time that is left until the deadline (`time.monotonic`) is less than it needs, by the time
    of the one before it; and after one that did not run, all larger ones are.
    """
    stop = "" if time.monotonic() < deadline else "no time was left"
    subject = None if stop else make()
    per_image = 0.0
    for batch in sorted(batches):
        left = deadline - time.monotonic()
        need = 3 * per_image * batch  # to warm up, end to end once, and the stages one by one
        if not stop and left <= need:
            stop = f"it needs about {need:.0f} s, and {max(0.0, left):.0f} s were left"
        if stop or subject is None:
            yield Row(shape, batch, "skipped", stop)
            continue
        row = attempted(subject, batch, left)
        if row.seconds is None:
            stop = f"batch {batch}: {row.status}"
        else:
            per_image = row.seconds["end_to_end"] / batch
        yield row


def attempted(subject: Subject, batch: int, left: float) -> Row:
    """Return the row of a batch size, or one that says what went wrong; the device's memory is free afterwards."""
    try:
        return measure(subject, batch, left)
    except Exception as error:  # the rows before it are worth keeping whatever a driver or a library says to this one
        out_of_memory = isinstance(error, torch.OutOfMemoryError) or is_out_of_memory(error)
        status, note = "out of memory" if out_of_memory else "failed", f"{type(error).__name__}: {error}"[:300]
    free_memory()  # only here, where the exception no longer holds the tensors of its frames
    return Row(subject.shape, batch, status, note)


def free_memory() -> None:
    """Return to the device what nothing refers to any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def matmul_flops_per_second(device: torch.device, dtype: torch.dtype) -> float:
    """Return the bound: operations per second of the product of two square matrices, the median of ten."""
    size = 8192 if device.type == "cuda" else 512
    a = torch.randn(size, size, device=device).to(dtype)
    times = [timed(device, lambda: a @ a)[1] for _ in range(13)][3:]
    return 2 * size**3 / statistics.median(times)


def network_flops(shape: str, tokenizer: Any, size: int) -> float:
    """Return the operations of one row through the denoiser, a multiplication and an addition being two."""
    model = random_model(shape, tokenizer, device="meta")
    latents = torch.zeros(1, *model.latent_shape(size), device="meta")
    denoiser = model.denoiser(model.embed([SOURCE]))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        denoiser(latents, torch.zeros(1, device="meta"))
    return float(counter.get_total_flops())


def settings_of(shape: str, solver: str, iterations: int) -> EditConfig:
    """Return the edit settings of a family's preset, with a fixed number of iterations; 0: what is usual for it."""
    editing: dict[str, Any] = dict(preset_of_sizes(shape).editing)
    iterations = iterations or (4 if editing["num_steps"] <= FEW_STEPS else 2)
    return EditConfig(**editing, solver={"name": solver}, stop=Stop(max_steps=iterations, tolerance=0.0))


def heading(device: torch.device, dtype: str, size: int, bound: float) -> dict[str, Any]:
    """Return what a report says of the machine, the software and the run."""
    cuda = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if cuda else platform.processor() or platform.machine(),
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "diffusers", "transformers")}
        | {"python": platform.python_version(), "cuda": torch.version.cuda if cuda else None},
        "date": datetime.now(UTC).date().isoformat(),
        "dtype": dtype,
        "size": size,
        "variants_per_image": VARIANTS,
        "command": shlex.join(["python", "-m", "jobs.benchmark_gpu", *sys.argv[1:]]),
        "matmul_tflops": bound / 1e12,
        "shapes": {},
        "rows": [],
    }


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure everything within the seconds given, shapes with equal shares of what is left; return the report."""
    deadline = time.monotonic() + options.seconds
    device, dtype = torch.device(options.device), DTYPES[options.dtype]
    tokenizer = build_tokenizer(list(WORDS))
    tokenizer.model_max_length = 77
    bound = matmul_flops_per_second(device, dtype)
    report = heading(device, options.dtype, options.size, bound)
    for place, shape in enumerate(options.shapes):
        config = settings_of(shape, options.solver, options.iterations)

        def make(shape: str = shape, config: EditConfig = config) -> Subject:
            flops = network_flops(shape, tokenizer, options.size)
            model = random_model(shape, tokenizer, device=options.device, dtype=dtype)
            about = {"network_gflop": flops / 1e9, "parameters": sum(p.numel() for p in model.network.parameters())}
            report["shapes"][shape] = about | {"editing": config.model_dump(mode="json")}
            return Subject(shape, model, config, flops, bound, options.size)

        share = max(0.0, deadline - time.monotonic()) / (len(options.shapes) - place)
        for row in rows_of(make, shape, options.batches, time.monotonic() + share):
            report["rows"].append(asdict(row))
            write_bytes_atomic(options.output / "report.json", (json.dumps(report, indent=2) + "\n").encode())
            print(shape, gpu_table([asdict(row)])[-1], row.note, flush=True)
        free_memory()
    return report


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=SIZES, default=["sdxl_turbo", "sd15"])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64], help="images at once")
    parser.add_argument("--size", type=int, default=512, help="side of the images in pixels")
    parser.add_argument("--seconds", type=float, default=150.0, help="for everything; what does not fit is skipped")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16")
    parser.add_argument("--solver", choices=SOLVERS, default=EditConfig().solver.name, help="of the inversion")
    parser.add_argument(
        "--iterations", type=int, default=0, help=f"of the solver per step; 0: 4 up to {FEW_STEPS} steps, 2 above"
    )
    parser.add_argument("--output", type=Path, default=Path("out/benchmark_gpu"), help="folder of report.json")
    parser.add_argument("--render", type=Path, help="measure nothing: write this page from the reports")
    parser.add_argument("--report", type=Path, nargs="+", default=[], help="reports for --render")
    options = parser.parse_args()
    if options.render:
        if not options.report:
            parser.error("--render needs --report FILE...")
        page = gpu_page([json.loads(path.read_text()) for path in options.report])
        write_bytes_atomic(options.render, page.encode())
        return
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error(f"--device {options.device}: torch finds no CUDA GPU; --device cpu --shapes toy runs anywhere")
    report = run(options)
    print(f"{len(report['rows'])} rows in {options.output / 'report.json'}")


if __name__ == "__main__":
    main()
