"""How fast the mixed loader is against a plain webdataset pipeline over the same tars.

python -m jobs.benchmark_loader [--side 64] [--samples 8192] [--rounds 3] [--workers 0 2 4] [--json]

Writes tars of the shipped training pictures, real ones and as many "edits", into a temporary folder. Both sides then
read epochs of as many samples, in turn, from the first batch asked for to the last: opening tars, filling shuffle
buffers and starting workers is part of it. The plain pipeline is what one would write by hand: all tars in one
`wds.WebDataset`, a shuffle buffer, Pillow, and torchvision's resize, centre crop and normalisation. What is printed are
medians over the rounds. On a machine that does other things too, the ratio of the processors' time says more than that
of the rates.
"""

from __future__ import annotations

import argparse
import gc
import io
import json
import random
import resource
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import webdataset as wds
from PIL import Image
from torchvision.transforms import v2

from augment.storage.tar import iter_tar, write_tar
from augment.tiny.dataset import split_path
from augment.training.loader import mixed_loader

BATCH_SIZE = 64
TARS = 8  # of each kind, so that each of four workers has its own
PER_TAR = 512
SHUFFLE = 1000


@dataclass(frozen=True)
class Rates:
    """Samples per second of both, with so many workers, and the mixed loader's over the plain one's.

    `cpu_ratio` is the same of samples per second of processor time, all processes together.
    """

    workers: int
    mixed: float
    plain: float
    ratio: float
    cpu_ratio: float


def write_pictures(folder: Path, side: int, tars: int = TARS, per_tar: int = PER_TAR) -> tuple[Path, Path]:
    """Write tars of the shipped pictures, again and again, and return the folders of the real ones and the edits.

    Pictures of 64 pixels are the files as they are (PNG), others are enlarged and saved as JPEG.
    """
    shipped = [files for _, files in iter_tar(split_path("train"))]
    pictures = [(_picture(files["png"], side), files["cls"]) for files in shipped]
    rng = random.Random(0)
    for kind in ("real", "edits"):
        for tar in range(tars):
            chosen = rng.choices(pictures, k=per_tar)
            samples = [
                (f"{kind}{tar:02d}-{i:05d}", picture | {"cls": label}) for i, (picture, label) in enumerate(chosen)
            ]
            write_tar(folder / kind / f"{tar:06d}.tar", samples)
    return folder / "real", folder / "edits"


def _picture(png: bytes, side: int) -> dict[str, bytes]:
    with Image.open(io.BytesIO(png)) as picture:
        if picture.size == (side, side):
            return {"png": png}
        file = io.BytesIO()
        picture.convert("RGB").resize((side, side), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return {"jpg": file.getvalue()}


def plain_loader(tars: list[str], image_size: int, samples: int, workers: int) -> Iterable[Any]:
    """Return batches of all samples of the tars, `samples` in all, by webdataset alone."""
    transform = v2.Compose(
        [
            v2.Resize(image_size, antialias=True),
            v2.CenterCrop(image_size),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.5] * 3, [0.5] * 3),
        ]
    )
    pipeline = (
        wds.WebDataset(tars, shardshuffle=len(tars), nodesplitter=wds.split_by_node)
        .shuffle(SHUFFLE)
        .decode("pil")
        .to_tuple("png;jpg", "cls")
        .map_tuple(transform, int)
        .batched(BATCH_SIZE)
        .repeat()
        .with_epoch(samples // BATCH_SIZE // max(1, workers))
    )
    return wds.WebLoader(pipeline, batch_size=None, num_workers=workers)


def rates_of(make: Callable[[], Iterable[Any]]) -> tuple[float, float]:
    """Return the samples of an epoch per second, and per second of processor time."""
    start, cpu_start, samples = time.perf_counter(), _cpu_seconds(), 0
    for _, labels in make():
        samples += len(labels)
    seconds = time.perf_counter() - start
    gc.collect()  # the workers end, and their time counts
    return samples / seconds, samples / (_cpu_seconds() - cpu_start)


def _cpu_seconds() -> float:
    """Return the processor time of this process and of those of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def measure(real: Path, edits: Path, image_size: int, samples: int, rounds: int, workers: int) -> Rates:
    """Return the rates with some number of workers; both sides take turns."""
    tars = sorted(str(path) for folder in (real, edits) for path in folder.glob("*.tar"))
    sides: dict[str, Callable[[], Iterable[Any]]] = {
        "mixed": lambda: mixed_loader(
            real, edits, batch_size=BATCH_SIZE, epoch_samples=samples, image_size=image_size, num_workers=workers
        ),
        "plain": lambda: plain_loader(tars, image_size, samples, workers),
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in sorted(sides, reverse=number % 2 == 1):
            found[name].append(rates_of(sides[name]))
    (mixed, mixed_cpu), (plain, plain_cpu) = (map(statistics.median, zip(*found[n], strict=True)) for n in sides)
    return Rates(workers, round(mixed), round(plain), round(mixed / plain, 2), round(mixed_cpu / plain_cpu, 2))


def as_table(rates: Iterable[Rates]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    yield "| workers | mixed loader, samples/s | plain webdataset, samples/s | ratio | ratio by processor time |"
    yield "|---|---|---|---|---|"
    for row in rates:
        yield f"| {row.workers} | {row.mixed:,.0f} | {row.plain:,.0f} | {row.ratio:.2f} | {row.cpu_ratio:.2f} |"


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Samples per second of the mixed loader and of plain webdataset.")
    parser.add_argument(
        "--side", type=int, default=64, help="pixels of the pictures in the tars, which batches have too"
    )
    parser.add_argument("--samples", type=int, default=8192, help="of an epoch")
    parser.add_argument("--rounds", type=int, default=3, help="epochs of each side")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2, 4])
    parser.add_argument("--json", action="store_true", help="print one JSON object for each row instead of a table")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="This DataLoader will create")
    with tempfile.TemporaryDirectory() as folder:
        real, edits = write_pictures(Path(folder), options.side)
        rows = [measure(real, edits, options.side, options.samples, options.rounds, n) for n in options.workers]
    for line in [json.dumps(asdict(row)) for row in rows] if options.json else as_table(rows):
        print(line)


if __name__ == "__main__":
    main()
