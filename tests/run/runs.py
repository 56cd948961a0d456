"""Small runs of the main job on the embedded model, in this process and in others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from augment.ledger.ledger import Ledger
from augment.storage.tar import sha256_file

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "configs" / "expand" / "emoji.yaml"
# 8 images x 2 edits in 4 units. The threshold lets some pass and some not, whatever the model is worth.
SMALL = (
    "input.limit=8",
    "variants_per_image=2",
    "editing.num_steps=4",
    "run.unit_size=2",
    "run.batch_size=2",
    "run.num_workers=2",
    "output.max_shard_samples=5",
)
PUBLISHED = (
    "shards/*",
    "rejected/*",
    "index/*",
    "manifest.json",
    "index.parquet",
    "README.md",
    "contact_sheet.png",
    "report.html",
)


def overrides(out: Path, *more: str, executor: str = "local") -> list[str]:
    return [*SMALL, f"output.path={out}", f"run.executor={executor}", *more]


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "augment", *map(str, arguments)]


def expand_command(out: Path, *more: str, executor: str = "local") -> list[str]:
    options = [word for o in overrides(out, *more, executor=executor) for word in ("-o", o)]
    return command("expand", CONFIG, *options)


def call(arguments: list[str], cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    return subprocess.run(arguments, cwd=cwd, env=environment, capture_output=True, text=True, timeout=110)


def published(out: Path) -> dict[str, str]:
    """Every file that has to be the same bytes in two runs of one config."""
    paths = [path for pattern in PUBLISHED for path in out.glob(pattern)]
    return {str(path.relative_to(out)): sha256_file(path) for path in paths}


def commit_of(out: Path, number: int) -> Path:
    """The commit of a unit, by its place in the plan."""
    plan = Ledger(out).read_plan()
    assert plan is not None
    return out / "commits" / f"{plan.unit_ids[number]}.json"


def written(out: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of change of every file but the lease, which is taken anew."""
    paths = [p for p in out.rglob("*") if p.is_file() and not p.name.startswith("lease-")]
    return {str(p.relative_to(out)): (p.stat().st_ino, p.stat().st_mtime_ns) for p in paths}
