"""The runner for one machine with several GPUs, without Ray: each worker is a process that the driver starts.

The driver and a worker are joined by a pipe. When the driver dies, however it dies, its end of the pipe is closed, and
the worker ends.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Container, Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection, wait
from typing import Any

from augment.distribute.config import MakeWorker, RunConfig, UnitWorker, Watch, WorkerSettings
from augment.distribute.notices import collect_warnings
from augment.distribute.pool import WorkerPool
from augment.distribute.signals import interruptible
from augment.distribute.task_queue import TaskQueue
from augment.distribute.workers import Ended, PoolMember
from augment.errors import AugmentError
from augment.types import Unit, UnitReport, UnitTask

VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"
_BEGINNING, _SETUP, _FIRST_UNIT = range(3)  # numbers of a worker's calls
_JOIN_SECONDS = 5.0  # for a killed process to be gone; one that waits in the system's kernel stays longer


def run_processes(
    config: WorkerSettings,
    units: Iterable[Unit],
    run: RunConfig,
    make_worker: MakeWorker,
    *,
    places: Sequence[str],
    replaces: Container[str] = frozenset(),
    watch: Watch | None = None,
) -> Generator[UnitReport, None, None]:
    """Do the units on processes of this machine, and yield a report as each is committed, in any order.

    What becomes of a unit whose worker dies, raises or hangs, and what is raised, is said in `WorkerPool.work`. The
    processes are spawned, so a script of a user that calls this has to keep it under `if __name__ == "__main__":`.

    Args:
        config: the settings of the workers.
        units: the units to do.
        run: the `run` section.
        make_worker: makes a worker from `config`, in its process. It is pickled.
        places: of the workers, one each: the GPU that it sees as its only one, as in CUDA_VISIBLE_DEVICES; "" leaves it
            what the driver sees.
        replaces: ids of units whose commit is to be replaced.
        watch: is told how many workers are ready, and of every event.
    """
    watch = watch or Watch()
    with interruptible(run.drain_seconds) as stop:
        queue = TaskQueue(config, units, run, replaces, watch)
        workers = ProcessWorkers(config, run, make_worker, places)
        yield from WorkerPool(workers, config.output, run, queue, watch, stop).work()


class ProcessWorkers:
    """Workers as processes of this machine. A call is a process and the call's number.

    Args:
        config, run, make_worker, places: as in `run_processes`.
    """

    def __init__(self, config: WorkerSettings, run: RunConfig, make_worker: MakeWorker, places: Sequence[str]) -> None:
        self._settings, self._threads = pickle.dumps((make_worker, config)), run.units_in_flight
        self._most, self._free = len(places), list(places)

    def wanted(self) -> int:
        """Return the number of places."""
        return self._most

    def start(self) -> PoolMember:
        """Start a process, which sets its worker up at once."""
        process = _Process(self._free.pop(0), self._threads, self._settings)
        return PoolMember(process, process.hand_over, (process, _BEGINNING), (process, _SETUP))

    def wait(self, calls: Sequence[Any], seconds: float) -> list[Any]:
        """Return those of the calls that have ended."""
        processes = {process.connection: process for process, _ in calls if not process.gone}
        if not any(process.has_ended(number) for process, number in calls):
            for connection in wait(list(processes), seconds):
                processes[connection].read()
        return [(process, number) for process, number in calls if process.has_ended(number)]

    def ended(self, member: PoolMember, call: Any) -> Ended:
        """Return how a call ended."""
        process, number = call
        answer: Ended | None = process.answers.pop(number, None)
        return answer if answer is not None else Ended(died=True)

    def take_warnings(self, member: PoolMember) -> tuple[str, ...]:
        """Return nothing: a process tells its warnings with every answer."""
        return ()

    def end(self, member: PoolMember) -> None:
        """Kill a process; its place is free afterwards."""
        member.handle.kill()
        self._free.append(member.handle.place)


class _Process:
    """The driver's side of a worker.

    Attributes:
        place: its GPU, or "".
        connection: the driver's end of the pipe.
        answers: how calls ended, by number, until they are asked for.
        gone: whether it has died.
    """

    def __init__(self, place: str, threads: int, settings: bytes) -> None:
        self.place, self.gone = place, False
        self.answers: dict[int, Ended] = {}
        self._number = _FIRST_UNIT
        # Not forked: CUDA does not work in a fork of a process that uses it, nor do locks that a thread held.
        context = multiprocessing.get_context("spawn")
        self.connection, its_end = context.Pipe()
        environment = {VISIBLE_GPUS: place} if place else {}
        self._process = context.Process(target=_serve, args=(its_end, environment, threads, settings))
        self._process.start()
        its_end.close()  # so that its death closes the pipe

    def hand_over(self, task: UnitTask) -> tuple[_Process, int]:
        number, self._number = self._number, self._number + 1
        with contextlib.suppress(OSError):  # it has died, as `read` will find
            self.connection.send((number, task))
        return self, number

    def read(self) -> None:
        """Take an answer, or note that the process has died."""
        try:
            number, ended = self.connection.recv()
        except (EOFError, OSError):
            self.gone = True
        else:
            self.answers[number] = ended

    def has_ended(self, number: int) -> bool:
        return self.gone or number in self.answers

    def kill(self) -> None:
        self._process.kill()
        self._process.join(_JOIN_SECONDS)
        self.connection.close()


def _serve(connection: Connection, environment: Mapping[str, str], threads: int, settings: bytes) -> None:
    """Be a worker: answer the driver's calls until it is gone."""
    for signum in (signal.SIGINT, signal.SIGTERM):  # sent to a whole group; the driver lets units in flight finish
        signal.signal(signum, signal.SIG_IGN)
    os.environ.update(environment)  # before torch is imported, with what the settings hold
    served = _Served(connection, threads)
    served.submit(_BEGINNING, lambda: None)
    served.submit(_SETUP, functools.partial(served.set_up, settings))
    with contextlib.suppress(EOFError, OSError):
        while True:
            number, task = connection.recv()
            served.submit(number, functools.partial(served.run_unit, task))
    os._exit(0)  # whatever its threads are doing: what they would commit is made again by the next driver


class _Served:
    """The worker's side: calls run on threads, as many as units in flight, and each answers for itself."""

    def __init__(self, connection: Connection, threads: int) -> None:
        self._connection, self._lock = connection, threading.Lock()
        self._threads = ThreadPoolExecutor(threads)
        self._warnings = collect_warnings()
        self._worker: UnitWorker | None = None

    def submit(self, number: int, call: Callable[[], Any]) -> None:
        self._threads.submit(self._answer, number, call)

    def set_up(self, settings: bytes) -> str:
        make_worker, config = pickle.loads(settings)
        self._worker = make_worker(config)
        self._worker.setup()
        return ""  # the machine's id: there is one machine

    def run_unit(self, task: UnitTask) -> UnitReport:
        assert self._worker is not None, "units are given after the setup"
        return self._worker.run_unit(task)

    def _answer(self, number: int, call: Callable[[], Any]) -> None:
        result, cause = None, None
        try:
            result = call()
        except BaseException as error:  # a call without an answer would be waited for
            cause = _portable(error)
        with self._lock, contextlib.suppress(OSError):  # the driver is gone
            self._connection.send((number, Ended(result, self._warnings.take(), cause)))


def _portable(error: BaseException) -> BaseException:
    """Return an error as it can be sent, with its traceback as a note where the error is not one of the user's."""
    if not isinstance(error, AugmentError | OSError):
        error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # some errors of libraries cannot be pickled, or not be made again
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
