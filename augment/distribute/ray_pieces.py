"""Work of many pieces on Ray: each is done by one worker process, once, after those that it needs."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import ray

from augment.distribute.cluster import usable_workers
from augment.distribute.config import RunConfig
from augment.errors import AugmentError, WorkerError

Tell = Callable[[str], None]
_POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Piece:
    """A piece of work.

    Attributes:
        name: unlike any other piece's; a line for people begins with it.
        group: pieces that are waited for together.
        work: does it, in a process that has the driver's working directory. It leaves files, and takes no time if they
            are there; what it returns is not kept.
        needs: names of pieces that must be done before.
        uses_model: whether it needs the device of the model.
    """

    name: str
    group: str
    work: Callable[[], Any]
    needs: tuple[str, ...] = ()
    uses_model: bool = False


class RayPieces:
    """Pieces on a Ray that is there. Those of two groups at most are with it at a time: what is begun is soon whole.

    Args:
        pieces: each comes after those that it needs.
        run: `num_workers` pieces at a time, of `threads_per_worker` CPUs each, or of their share if that is more; the
            work ends after `wait_for_workers` without a machine that can take a piece.
        device: of the model: `cpu`, or `cuda`, of which a piece that uses the model gets one.
        max_failures: times that a piece is begun again whose worker has died.
        tell: called with a line for people when a piece is done, and when no machine can take one.

    Raises:
        WorkerError: if pieces need a GPU, and a Ray on this machine alone, which cannot grow, has none.
    """

    def __init__(self, pieces: Iterable[Piece], run: RunConfig, device: str, max_failures: int, tell: Tell) -> None:
        self._of_group: dict[str, list[Piece]] = {}
        for piece in pieces:
            self._of_group.setdefault(piece.group, []).append(piece)
        self._run, self._device, self._max_failures, self._tell = run, device, max_failures, tell
        if any(piece.uses_model for some in self._of_group.values() for piece in some):
            usable_workers(run, device, ray.cluster_resources())
        self._cpus = float(run.threads_per_worker)
        if run.num_workers != "all":  # no more pieces at a time: each gets its share of the CPUs, but of one machine
            share = ray.cluster_resources().get("CPU", 1.0) // run.num_workers
            largest = max((machine.get("CPU", 0.0) for machine in _machines()), default=share)
            self._cpus = max(self._cpus, min(share, largest))
        self._begun: set[str] = set()  # names of groups
        self._due: dict[str, Piece] = {}  # not with Ray yet, by name
        self._waiting: dict[Any, Piece] = {}  # with Ray
        self._done: set[str] = set()  # names of pieces
        self._idle_since: float | None = None  # no machine can take a piece

    def wait(self, group: str) -> None:
        """Return once all pieces of a group are done; those of the next group may have begun.

        Raises:
            AugmentError, OSError: what a piece has raised.
            WorkerError: if the workers of one have died too often, or for too long no machine can take one.
        """
        groups = list(self._of_group)
        place = groups.index(group)
        for soon in groups[place : place + 2]:
            if soon not in self._begun:
                self._begun.add(soon)
                self._due |= {piece.name: piece for piece in self._of_group[soon]}
        wanted = {piece.name for piece in self._of_group[group]}
        while wanted - self._done:
            self._submit()
            ended = ray.wait(list(self._waiting), timeout=_POLL_SECONDS)[0]
            for end in ended:
                self._finish(end)
            if not ended:
                self._check_for_machines(time.monotonic())

    def cancel(self) -> None:
        """End the pieces that are at work, and forget those that are not."""
        for end in self._waiting:
            ray.cancel(end, force=True)

    def _submit(self) -> None:
        """Give Ray the pieces whose turn it is, those of the first group first.

        Those with a GPU are counted apart: where there are few, most of them wait, and nothing else waits with them.
        """
        at_a_time = float("inf") if self._run.num_workers == "all" else self._run.num_workers
        count = Counter(self._gpus(piece) for piece in self._waiting.values())
        for piece in [piece for piece in self._due.values() if self._done.issuperset(piece.needs)]:
            if count[self._gpus(piece)] >= at_a_time:
                continue
            count[self._gpus(piece)] += 1
            task = ray.remote(_work).options(
                num_cpus=self._cpus,
                num_gpus=self._gpus(piece),
                max_retries=self._max_failures,
                name=piece.name,
            )
            self._waiting[task.remote(piece.work, os.getcwd())] = self._due.pop(piece.name)

    def _gpus(self, piece: Piece) -> int:
        return 1 if piece.uses_model and self._device != "cpu" else 0

    def _finish(self, end: Any) -> None:
        piece = self._waiting.pop(end)
        try:
            ray.get(end)
        except ray.exceptions.RayTaskError as error:
            cause = error.cause
            raise (cause if isinstance(cause, AugmentError | OSError) else error) from error
        except ray.exceptions.RayError as error:
            raise WorkerError(
                f"{piece.name}: the worker has died, and run.max_failures ({self._max_failures}) allows no further "
                f"attempt. The same command goes on with what is left. The last reason: {error}"
            ) from error
        self._done.add(piece.name)
        self._idle_since = None
        self._tell(f"done: {piece.name}")

    def _check_for_machines(self, now: float) -> None:
        """Tell at once, and raise WorkerError after `wait_for_workers`, if no machine can take a piece that is due.

        A machine that is too busy is none of these: the pieces wait until it is free.
        """
        machines = _machines()
        pieces = list(self._waiting.values())
        if not pieces or any(self._can_take(machine, piece) for machine in machines for piece in pieces):
            self._idle_since = None
            return
        gpu = " and a GPU" if all(self._gpus(piece) for piece in pieces) else ""
        limit = self._run.wait_for_workers
        lack = f"no machine of Ray has the {self._cpus:g} CPU(s){gpu} that {pieces[0].name!r} needs"
        if self._idle_since is None:
            self._idle_since = now
            self._tell(f"{lack}: waiting for one, for {limit:.0f} s at most")
        if now - self._idle_since > limit:
            raise WorkerError(
                f"{lack}, and none has come within {limit:.0f} s. `ray status` says what there is; lower "
                "run.threads_per_worker, set model.device: cpu, or let such a machine join. The same command goes on "
                "with what is left"
            )

    def _can_take(self, machine: dict[str, float], piece: Piece) -> bool:
        return machine.get("CPU", 0.0) >= self._cpus and machine.get("GPU", 0.0) >= self._gpus(piece)


def _machines() -> list[dict[str, float]]:
    """Return what each machine of the Ray has in all, busy or not: name of a resource -> amount."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _work(work: Callable[[], Any], folder: str) -> None:
    """Do a piece in a worker."""
    os.chdir(folder)
    work()
