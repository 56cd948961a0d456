"""Pieces on Ray: each after those that it needs, as many at a time as the config says; none that waits for ever."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from augment.distribute.config import RunConfig
from augment.distribute.ray_pieces import Piece, RayPieces
from augment.errors import WorkerError

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]
ON_CLUSTER = RunConfig(num_workers=1, address="auto", wait_for_workers=0.2)


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("augment.distribute.ray_pieces._POLL_SECONDS", 0.05)


def note(file: Path, begun: str, ended: str) -> None:
    """A piece's work: two lines in a file that all pieces share."""
    for line in (begun, ended):
        with file.open("a") as stream:
            stream.write(f"{line}\n")


def piece(name: str, file: Path, *needs: str, group: str = "first", uses_model: bool = False) -> Piece:
    work = partial(note, file, f"{name} begins", f"{name} ends")
    return Piece(name, group, work, needs, uses_model)


def test_one_worker_does_one_piece_at_a_time_after_those_that_it_needs(ray_session: Any, tmp_path: Path) -> None:
    file, told = tmp_path / "notes", list[str]()
    pieces = [piece("a", file), piece("b", file, "a"), piece("c", file), piece("d", file, "b", group="second")]
    work = RayPieces(pieces, RunConfig(num_workers=1), "cpu", 0, told.append)
    work.wait("first")
    work.wait("second")
    lines = file.read_text().split("\n")[:-1]
    names = [line[0] for line in lines[::2]]
    assert lines == [f"{name} {what}" for name in names for what in ("begins", "ends")]
    assert sorted(names) == ["a", "b", "c", "d"]
    assert names.index("a") < names.index("b") < names.index("d")
    assert told == [f"done: {name}" for name in names]


def test_a_model_without_a_gpu_is_said_before_anything_is_done(ray_session: Any, tmp_path: Path) -> None:
    file = tmp_path / "notes"
    pieces = [piece("a", file), piece("b", file, uses_model=True)]
    with pytest.raises(WorkerError, match=r"model\.device is 'cuda', but Ray has no GPU; set model\.device: cpu"):
        RayPieces(pieces, RunConfig(num_workers=1), "cuda", 0, print)
    RayPieces(pieces[:1], RunConfig(num_workers=1), "cuda", 0, print).wait("first")  # needs none
    assert file.read_text() == "a begins\na ends\n"


def test_a_cluster_without_a_gpu_is_not_waited_for_without_end(ray_session: Any, tmp_path: Path) -> None:
    file, told = tmp_path / "notes", list[str]()
    work = RayPieces([piece("a", file, uses_model=True), piece("b", file)], ON_CLUSTER, "cuda", 0, told.append)
    with pytest.raises(WorkerError, match=r"no machine of Ray has the 2 CPU\(s\) and a GPU that 'a' needs, and none"):
        work.wait("first")
    work.cancel()
    assert told[0] == "done: b"  # which needs no GPU
    assert told[1].endswith("'a' needs: waiting for one, for 0 s at most")


def test_more_threads_than_any_machine_has_are_not_waited_for_without_end(ray_session: Any, tmp_path: Path) -> None:
    told = list[str]()
    run = ON_CLUSTER.model_copy(update={"threads_per_worker": 3})
    work = RayPieces([piece("a", tmp_path / "notes")], run, "cpu", 0, told.append)
    with pytest.raises(WorkerError, match=r"the 3 CPU\(s\) that 'a' needs, .* lower run\.threads_per_worker"):
        work.wait("first")
    work.cancel()
    assert len(told) == 1


def test_a_share_of_all_cpus_is_no_more_than_a_machine_has(
    ray_session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_session, "cluster_resources", lambda: {"CPU": 16.0})  # of eight machines with two
    file = tmp_path / "notes"
    RayPieces([piece("a", file)], RunConfig(num_workers=2), "cpu", 0, print).wait("first")
    assert file.read_text() == "a begins\na ends\n"
