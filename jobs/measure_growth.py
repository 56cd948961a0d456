"""A dataset that grows, step by step, with its runs killed now and then: what is made, and whether the end is right.

    python -m jobs.measure_growth out/growth

Images of emoji world's `train` split (and later of `val`) lie in one folder per class. After a first run, images are
added, variants are added, a prompt value is removed, an image is replaced and a class is renamed. Before each run
`augment plan` says how many edits are new; runs are ended with SIGKILL at random moments, and started again. At the end
everything published is compared with what one undisturbed run under the last settings publishes.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from augment.ledger.ledger import Ledger
from augment.storage.tar import iter_tar, sha256_file
from augment.tiny.dataset import split_path
from augment.tiny.world import CLASSES

CONFIG = Path(__file__).parents[1] / "configs" / "expand" / "emoji.yaml"
KILL_AFTER = (4.0, 30.0)  # seconds; starting takes some five of them
PUBLISHED = ("shards/*", "rejected/*", "index/*", "manifest.json", "index.parquet", "README.md", "report.html")


@dataclass
class Job:
    """A dataset in a folder, its config, and the settings that change from step to step."""

    folder: Path
    executor: str
    variants: int = 4
    names: dict[str, str] = field(default_factory=lambda: {name: name for name in CLASSES})

    @property
    def images(self) -> Path:
        """Return the folder of the dataset."""
        return self.folder / "images"

    def command(self, name: str, out: Path) -> list[str]:
        """Return a command of `augment` on this job, as words."""
        options = [
            f"input.path={self.images}",
            "input.format=imagefolder",
            f"input.class_names={json.dumps(self.names)}",
            f"prompts={self.folder / 'prompts.yaml'}",
            f"variants_per_image={self.variants}",
            f"output.path={out}",
            f"run.executor={self.executor}",
        ]
        words = [word for option in options for word in ("-o", option)]
        return [sys.executable, "-m", "augment", name, str(CONFIG), *words, "--json"]

    def plan(self) -> dict[str, Any]:
        """Return what `augment plan` says."""
        done = subprocess.run(self.command("plan", self.folder / "out"), capture_output=True, text=True, check=True)
        content: dict[str, Any] = json.loads(done.stdout)
        return content

    def run(self, out: Path, kill_after: float | None = None) -> bool:
        """Run the job; end it with SIGKILL after so many seconds. Return whether it came to its end."""
        process = subprocess.Popen(
            self.command("expand", out), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
        )
        try:
            _, errors = process.communicate(timeout=kill_after)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return False
        if process.returncode:
            raise RuntimeError(errors.decode())
        return True


def samples(split: str) -> Iterator[tuple[str, bytes]]:
    """Yield class name and PNG of the pictures of a split."""
    for _, files in iter_tar(split_path(split)):
        yield json.loads(files["json"])["class_name"], files["png"]


def add_images(job: Job, split: str, count: int) -> None:
    """Add the first pictures of a split to the dataset."""
    for number, (name, png) in zip(range(count), samples(split), strict=False):
        path = job.images / name / f"{split}-{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png)


def remove_prompt_value(job: Job) -> None:
    """Remove the last value of the first attribute of the prompts."""
    path = job.folder / "prompts.yaml"
    prompts = yaml.safe_load(path.read_text())
    next(iter(prompts["attributes"].values())).pop()
    path.write_text(yaml.safe_dump(prompts, sort_keys=False))


def replace_image(job: Job) -> None:
    """Put another picture in the place of the first one."""
    _, png = next(iter(samples("test")))
    next(iter(sorted(job.images.rglob("*.png")))).write_bytes(png)


def steps(images: int) -> dict[str, Callable[[Job], None]]:
    """Return what happens to the dataset and the settings, in order."""
    extra = max(1, images // 24)
    return {
        "first run": lambda job: add_images(job, "train", images),
        f"{images} -> {images + extra} images": lambda job: add_images(job, "val", extra),
        "4 -> 6 variants": lambda job: setattr(job, "variants", 6),
        "a prompt value removed": remove_prompt_value,
        "an image replaced": replace_image,
        "a class renamed": lambda job: job.names.update(fox="red fox"),
    }


def measure(folder: Path, images: int, kills: int, executor: str = "local", seed: int = 0) -> list[dict[str, Any]]:
    """Do all steps; return a row for each, and one for the comparison.

    Args:
        folder: made anew.
        images: of the first run.
        kills: SIGKILLs, spread over the steps after the first run.
        executor: `local` or `ray`.
        seed: of the moments at which runs are killed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    job, chance, out = Job(folder, executor), random.Random(seed), folder / "out"
    shutil.copy(CONFIG.parent / yaml.safe_load(CONFIG.read_text())["prompts"], folder / "prompts.yaml")
    rows = []
    before: set[str] = set()
    for number, (name, change) in enumerate(steps(images).items()):
        change(job)
        said = job.plan()
        wanted = kills * number // 5 - kills * max(0, number - 1) // 5
        began, killed, ended = time.monotonic(), 0, False
        while not ended:
            ended = job.run(out, chance.uniform(*KILL_AFTER) if killed < wanted else None)
            killed += not ended
        done = Ledger(out).committed()
        made = sum(report.edited - report.kept for unit_id, report in done.items() if unit_id not in before)
        before = set(done)
        row = {key: said[key] for key in ("planned", "new", "kept", "dropped")}
        rows.append({"step": name, **row, "made": made, "kills": killed, "seconds": time.monotonic() - began})
        print(json.dumps(rows[-1]), flush=True)
    job.run(folder / "fresh")
    same = published(out) == published(folder / "fresh")
    print(json.dumps({"step": "all bytes as after one fresh run", "same": same}), flush=True)
    return [*rows, {"step": "same bytes", "same": same}]


def published(out: Path) -> dict[str, str]:
    """Return the SHA-256 of every published file."""
    paths = (path for pattern in PUBLISHED for path in out.glob(pattern))
    return {str(path.relative_to(out)): sha256_file(path) for path in paths}


def table(rows: list[dict[str, Any]]) -> str:
    """Return the steps as a Markdown table."""
    names = ("planned", "new", "kept", "dropped", "made", "kills")
    lines = [f"| step | {' | '.join(names)} |", "|---|" + "---:|" * len(names)]
    lines += [f"| {row['step']} | {' | '.join(f'{row[n]:,}' for n in names)} |" for row in rows if "made" in row]
    return "\n".join(lines)


def main() -> None:
    """Read the arguments, measure, print the table; end with 1 if a byte differs from that of a fresh run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="made anew")
    parser.add_argument("--images", type=int, default=384, help="of the first run")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--executor", choices=("local", "ray"), default="local")
    arguments = parser.parse_args()
    rows = measure(arguments.folder, arguments.images, arguments.kills, arguments.executor)
    print(table(rows))
    sys.exit(0 if rows[-1]["same"] else 1)


if __name__ == "__main__":
    main()
