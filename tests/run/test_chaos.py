"""Everything at once: a node, workers and the driver killed, one that hangs, poison, damaged files, too little memory.

On an object store also inputs that are away, a full disk under a worker, and clocks that are an hour off. Nothing is
lost, nothing is doubled, and the bytes are those of a run that nothing happened to.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from augment.dataset.generation import published_files
from augment.dataset.verification import Verification
from augment.dataset.verify import verify
from augment.inputs.images import encode_png
from augment.ledger.ledger import Ledger
from augment.storage.resolve import open_store
from tests.inputs.test_remote_readers import upload
from tests.object_store import Fault
from tests.run.chaos_driver import CLOCK, HANGS, POISON
from tests.run.runs import ROOT

UNITS, UNIT_SIZE, VARIANTS = 500, 2, 2  # a few more units: some are cut at a key before they are full
DAMAGED = 12
CONFIG = """
input: {{path: {data}, format: imagefolder, image_size: 16}}
output: {{path: {out}, max_shard_samples: 400}}
prompts: {prompts}
variants_per_image: {variants}
filters: {{max_psnr_gap: null}}
run:
  address: "{address}"
  num_workers: all
  batch_size: 4
  unit_size: {unit_size}
  max_attempts: 4
  drain_seconds: 5
  unit_timeout: {unit_timeout}
"""
UNIT_TIMEOUT = 30.0  # of units that take less than a second
AWAY = 60.0  # seconds


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A thousand small pictures in two classes, two of them poison, some of them damaged."""
    root = tmp_path_factory.mktemp("chaos") / "data"
    random_numbers = np.random.default_rng(0)
    count = UNITS * UNIT_SIZE
    for i in range(count):
        path = root / ("fox" if i < count // 2 else "owl") / f"{i:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = random_numbers.integers(10, 256, (16, 16, 3), np.uint8)
        if i in (333, 777):
            pixels[0, 0] = POISON
        content = encode_png(pixels)
        path.write_bytes(content[: len(content) // 2] if i % (count // DAMAGED) == 5 else content)
    return root


class Nodes:
    """Three machines of two CPUs each, in processes."""

    def __init__(self) -> None:
        import ray
        from ray.cluster_utils import Cluster

        node = {"num_cpus": 2, "num_gpus": 0, "object_store_memory": 80 * 2**20, "include_dashboard": False}
        self.node = node
        self.patch = pytest.MonkeyPatch()
        # It would make itself the cluster that `ray.init` finds on this machine, and in the end leave it with none.
        self.patch.setattr(ray._private.utils, "write_ray_address", lambda address: None)
        self.patch.setattr(ray._common.utils, "reset_ray_address", lambda: None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # looking for a free port, Ray leaves a socket open
            self.cluster = Cluster(initialize_head=True, head_node_args=node | {"num_cpus": 0})
            self.workers = [self.cluster.add_node(**node) for _ in range(2)]
            gc.collect()
        self.address = self.cluster.address

    def kill_one(self) -> None:
        self.cluster.remove_node(self.workers.pop(), allow_graceful=False)

    def add_one(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            self.workers.append(self.cluster.add_node(**self.node))
            gc.collect()

    def shutdown(self) -> None:
        self.cluster.shutdown()
        self.patch.undo()


@pytest.fixture(scope="module")
def nodes(object_store: Callable[[], str]) -> Iterator[Nodes]:  # first: machines inherit its credentials
    found = Nodes()
    yield found
    found.shutdown()


def config(folder: Path, data: Path | str, out: str, nodes: Nodes) -> Path:
    path = folder / f"{len(list(folder.glob('*.yaml')))}.yaml"
    prompts = ROOT / "configs" / "prompts" / "emoji.yaml"
    values = {"data": data, "out": out, "prompts": prompts, "variants": VARIANTS, "unit_size": UNIT_SIZE}
    path.write_text(CONFIG.format(**values, address=nodes.address, unit_timeout=UNIT_TIMEOUT))
    return path


class Driver:
    """A driver in a process of its own. What it prints goes into a file: a pipe that nobody reads would hold it up."""

    def __init__(self, config: Path, deaths: Path | None = None, clock: float = 0.0) -> None:
        script, self.log = Path(__file__).with_name("chaos_driver.py"), config.with_suffix(".log")
        command = [sys.executable, str(script), str(config), *([str(deaths)] if deaths else [])]
        environment = os.environ | {"PYTHONPATH": str(ROOT), CLOCK: str(clock)}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def wait_for(self, happened: Callable[[], bool], seconds: float = 400.0) -> None:
        deadline = time.monotonic() + seconds
        while not happened():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, "it did not happen"
            time.sleep(0.05)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def finish(self, seconds: float = 200.0) -> None:
        assert self.process.wait(timeout=seconds) == 0, self.log.read_text()


def commits(out: str) -> int:
    return len(open_store(out).list("commits"))


def published(out: str) -> dict[str, bytes]:
    """What training reads, and what says what it is."""
    store = open_store(out)
    names = [*published_files(store), "manifest.json", "index.parquet", "README.md"]
    return {name: store.read(name) for name in names}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, data: Path, nodes: Nodes) -> str:
    """A run that only poison, damage and little memory happen to: these belong to the input and to the machine."""
    folder = tmp_path_factory.mktemp("undisturbed")
    Driver(config(folder, data, str(folder / "out"), nodes)).finish()
    return str(folder / "out")


def disturb(
    folder: Path, data: Path | str, out: str, nodes: Nodes, meanwhile: Callable[[], None] = lambda: None
) -> None:
    """Workers that die at random, and one that hangs; a node lost and another gained; the driver killed twice, and
    started again, the second one with a clock that is an hour ahead."""
    deaths = folder / "deaths"
    deaths.mkdir()
    path = config(folder, data, out, nodes)
    driver = Driver(path, deaths)
    driver.wait_for(lambda: commits(out) >= 50)
    nodes.kill_one()
    driver.wait_for(lambda: commits(out) >= 130)
    driver.kill()
    assert 130 <= commits(out) < UNITS
    driver = Driver(path, deaths, clock=3600)
    nodes.add_one()
    driver.wait_for(lambda: commits(out) >= 200)
    meanwhile()
    driver.wait_for(lambda: commits(out) >= 300)
    driver.kill()
    assert 300 <= commits(out) < UNITS
    Driver(path, deaths).finish()
    assert len(list(deaths.iterdir())) > UNITS * UNIT_SIZE / 30  # who was to die has died
    assert (deaths / HANGS).exists()


def check(out: str, undisturbed: str) -> Verification:
    result = verify(out)
    assert result.problems == []  # no key twice among other things
    assert result.planned == UNITS * UNIT_SIZE * VARIANTS == result.accepted + result.rejected + result.failed
    assert result.failed == (DAMAGED + 2) * VARIANTS
    assert published(out) == published(undisturbed)
    events = open_store(out)
    assert not events.list("run/in_flight")
    return result


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(900)
def test_chaos_on_a_disk(tmp_path: Path, data: Path, nodes: Nodes, undisturbed: str) -> None:
    disturb(tmp_path, data, str(tmp_path / "out"), nodes)
    check(str(tmp_path / "out"), undisturbed)
    suspects = json.loads((tmp_path / "out" / "run" / "suspects.json").read_bytes())
    assert suspects == {"fox/00333": 2, "owl/00777": 2}
    ledger = Ledger(tmp_path / "out")
    plan = ledger.read_plan()
    assert plan is not None
    assert len(ledger.committed()) == plan.units


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(900)
def test_chaos_on_an_object_store(
    tmp_path: Path,
    data: Path,
    nodes: Nodes,
    undisturbed: str,
    object_store: Callable[[], str],
    faults: list[Fault],
) -> None:
    """The inputs are there as well, and are away for a minute: errors first, then connections that end unanswered."""
    out, remote = object_store(), object_store()
    upload(data, remote)

    def inputs_are_away() -> None:
        # What is being read when they go is finished; nothing else is until they are back.
        for fault in (Fault("GET", ".png", "503 Slow Down", "SlowDown"), Fault("GET", ".png", silent=True)):
            fault.times = sys.maxsize
            faults.append(fault)
            time.sleep(AWAY / 2)
            assert sys.maxsize - fault.times > 10
            faults.remove(fault)

    disturb(tmp_path, remote, out, nodes, inputs_are_away)
    assert (tmp_path / "deaths" / "clock").exists() and list((tmp_path / "deaths").glob("full_disk_*"))
    check(out, undisturbed)
