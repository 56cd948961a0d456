"""The runner for one machine with several GPUs, without Ray: each worker is a process that the driver starts.

The driver and a worker are joined by a pipe. When the driver dies, however it dies, its end of the pipe is closed, and
the worker ends.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Container, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from queue import SimpleQueue
from typing import Any

from augment.distribute.config import MakeWorker, RunConfig, UnitWorker, Watch, WorkerSettings
from augment.distribute.notices import collect_warnings
from augment.distribute.pool import WorkerPool
from augment.distribute.signals import interruptible
from augment.distribute.task_queue import TaskQueue
from augment.distribute.workers import Ended, PoolMember
from augment.errors import AugmentError
from augment.types import Unit, UnitReport, UnitTask

logger = logging.getLogger(__name__)
VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"
_BEGINNING, _SETUP, _FIRST_UNIT = range(3)  # numbers of a worker's calls
_JOIN_SECONDS = 5.0  # for a killed process to be gone; one that waits in the system's kernel stays longer
# Not by `multiprocessing`, which runs the driver's main module in the worker before the worker knows its GPU, and waits
# for it when the driver ends.
_PROGRAM = "import sys; from augment.distribute.process_workers import be_worker; be_worker(int(sys.argv[1]))"


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

    What becomes of a unit whose worker dies, raises or hangs, and what is raised, is said in `WorkerPool.work`.

    Args:
        config: the settings of the workers.
        units: the units to do.
        run: the `run` section.
        make_worker: makes a worker from `config`, in its process. It is pickled, so it must be importable there.
        places: one for each worker: the GPU that it sees as its only one, as in CUDA_VISIBLE_DEVICES; "" leaves it what
            the driver sees.
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

    advice = "what do the worker processes print?"

    def __init__(self, config: WorkerSettings, run: RunConfig, make_worker: MakeWorker, places: Sequence[str]) -> None:
        self._settings, self._threads = pickle.dumps((make_worker, config)), run.units_in_flight
        self._most, self._free = len(places), list(places)

    def wanted(self) -> int:
        """Return the number of places."""
        return self._most

    def start(self) -> PoolMember:
        """Start a process, which sets its worker up at once."""
        process = _Process(self._free.pop(0), self._threads, self._settings)
        calls = (process, _BEGINNING), (process, _SETUP)
        return PoolMember(process, process.hand_over, *calls, alive_since=time.monotonic())

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
        self.connection, its_end = Pipe()
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
        if place:
            environment[VISIBLE_GPUS] = place
        with its_end:  # closed here afterwards, so that the process's death closes the pipe
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, str(its_end.fileno())],
                env=environment,
                pass_fds=[its_end.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the driver, which lets units in flight finish
            )
        # By a thread: a process that hangs reads nothing, and the driver has to see that its time is over.
        self._outbox: SimpleQueue[Any] = SimpleQueue()
        self._sender = threading.Thread(target=self._send, name="augment-tasks", daemon=True)
        self._sender.start()
        self._outbox.put((threads, settings))

    def _send(self) -> None:
        with contextlib.suppress(OSError):  # it has died, as `read` will find
            while (message := self._outbox.get()) is not None:
                self.connection.send(message)

    def hand_over(self, task: UnitTask) -> tuple[_Process, int]:
        number, self._number = self._number, self._number + 1
        self._outbox.put((number, task))
        return self, number

    def read(self) -> None:
        """Take an answer, or note that the process has died."""
        try:
            number, ended, error = self.connection.recv()
        except (EOFError, OSError):
            self.gone = True
        else:
            self.answers[number] = replace(ended, cause=_unpacked(*error)) if error else ended

    def has_ended(self, number: int) -> bool:
        return self.gone or number in self.answers

    def kill(self) -> None:
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_JOIN_SECONDS)
        self._outbox.put(None)
        self._sender.join(_JOIN_SECONDS)  # before what it writes to is closed
        self.connection.close()


def be_worker(descriptor: int) -> None:
    """Be a worker: answer the driver's calls until it is gone. Never returns.

    Args:
        descriptor: of this end of the pipe.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # sent to all of a job; the driver decides
    connection = Connection(descriptor)
    with contextlib.suppress(EOFError, OSError):
        threads, settings = connection.recv()
        served = _Served(connection, threads)
        served.submit(_BEGINNING, lambda: None)
        served.submit(_SETUP, functools.partial(served.set_up, settings))
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
        result, packed = None, None
        try:
            result = call()
        except BaseException as error:  # a call without an answer would be waited for
            if not isinstance(error, AugmentError | OSError):
                logger.exception("a bug, or what a library did not expect")  # travels as a warning
            packed = _packed(error)
        with self._lock, contextlib.suppress(OSError):  # the driver is gone
            self._connection.send((number, Ended(result, self._warnings.take() if number else ()), packed))


def _packed(error: BaseException) -> tuple[bytes, str]:
    """Return an error for the driver, as far as it can be pickled, and in words."""
    words = f"{type(error).__name__}: {error}"
    try:
        return pickle.dumps(error), words
    except Exception:  # some errors of libraries cannot be
        return b"", words


def _unpacked(pickled: bytes, words: str) -> BaseException:
    """Return the worker's error; in words where it cannot be made again here, as one of a module that is not here."""
    try:
        error: BaseException = pickle.loads(pickled)
    except Exception:
        return RuntimeError(words)
    return error
