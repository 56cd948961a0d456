"""How long a big manifest takes from the file to the written plan, and how much memory.

python -m jobs.benchmark_listing --rows 1000000 [--format csv|jsonl|parquet] [--json]

The manifest is generated in a temporary folder; the images that it names need not exist. A fresh process then lists it
and writes the plan with the prompts of emoji world, four variants of each image, and reports on itself.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow
import pyarrow.parquet

from augment.config import load_config
from augment.inputs.readers import list_sources
from augment.ledger.ledger import Ledger
from augment.ledger.plan import cut_units, in_plan_order, sources_digest
from augment.prompts import PromptConfig, plan_source

PROMPTS = Path(__file__).parent.parent / "configs" / "prompts" / "emoji.yaml"
NUM_CLASSES = 1000
NUM_VARIANTS = 4
UNIT_SIZE = 16
COLUMNS = ("path", "label", "size")


@dataclass(frozen=True)
class Figures:
    """Of one listing: seconds, peak resident memory of the process in MB, bytes of the files in `plan/`."""

    sources: int
    listing_seconds: float
    planning_seconds: float
    peak_rss_mb: float
    plan_bytes: int


def generated_rows(count: int) -> Iterator[tuple[str, str, int]]:
    """Yield path, class name and size of images as they lie in many datasets: a folder per class, numbered files."""
    for i in range(count):
        name = f"class {i % NUM_CLASSES:03d}"
        yield f"images/{name.replace(' ', '_')}/{i // NUM_CLASSES:06d}.jpg", name, 50_000 + i % 100_000


def write_manifest(folder: Path, format: str, count: int) -> Path:
    """Write a manifest with `count` generated rows and return its path."""
    path = folder / f"manifest.{format}"
    rows = generated_rows(count)
    if format == "parquet":
        columns = [list(column) for column in zip(*rows, strict=True)]
        pyarrow.parquet.write_table(pyarrow.table(dict(zip(COLUMNS, columns, strict=True))), path)
        return path
    with path.open("w", newline="") as file:
        if format == "csv":
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            writer.writerows(rows)
        else:
            file.writelines(json.dumps(dict(zip(COLUMNS, row, strict=True))) + "\n" for row in rows)
    return path


def measure(manifest: Path) -> Figures:
    """List a manifest and write its plan, in this process."""
    prompts = load_config(PROMPTS, PromptConfig)
    start = time.perf_counter()
    sources = in_plan_order(list_sources(manifest, "manifest").sources)
    listed = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(folder)
        settings = {"input.count": len(sources), "input.listing": sources_digest(sources)}
        planned = (plan_source(source, prompts, NUM_VARIANTS, seed=0) for source in sources)
        ledger.write_plan(settings, cut_units(planned, UNIT_SIZE), {s.label: s.class_name for s in sources})
        end = time.perf_counter()
        plan_bytes = sum(file.stat().st_size for file in (Path(folder) / "plan").iterdir())
    peak = _peak_kib() / 1024
    return Figures(len(sources), round(listed - start, 2), round(end - listed, 2), round(peak, 1), plan_bytes)


def _peak_kib() -> int:
    # Not getrusage, whose peak begins with that of the process that this one was started by.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Seconds and memory from a manifest to the written plan.")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the generated manifest")
    parser.add_argument("--format", choices=["csv", "jsonl", "parquet"], default="csv")
    parser.add_argument("--manifest", type=Path, help="measure this one, in this process")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    options = parser.parse_args()
    if options.manifest:
        figures = asdict(measure(options.manifest))
    else:
        with tempfile.TemporaryDirectory() as folder:
            manifest = write_manifest(Path(folder), options.format, options.rows)
            # Another process, because the memory that generating took is never given back.
            command = [sys.executable, "-m", "jobs.benchmark_listing", "--manifest", str(manifest), "--json"]
            figures = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    print(json.dumps(figures) if options.json else "\n".join(f"{key:18} {value:,}" for key, value in figures.items()))


if __name__ == "__main__":
    main()
