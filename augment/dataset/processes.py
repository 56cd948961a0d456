"""Processes of this machine that share the work on the files of a dataset.

Each is started anew, with the modules only that its work needs, and is given tasks through a pipe. Nothing is forked,
so it does not matter what the process that asks has loaded, or which threads it has. When that ends, however it does,
they find their pipes closed and end, too.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, TypeVar

_MOST = 8
_WORTH_ONE = 16 * 2**20  # bytes to work on for which starting one more process pays

T = TypeVar("T")
Run = Callable[..., Any]  # calls a function with arguments, in one of the processes, and returns what it returns


def process_count(size: int) -> int:
    """Return how many processes to use for so many bytes of files: at most one per core of this machine."""
    return max(1, min(len(os.sched_getaffinity(0)), _MOST, size // _WORTH_ONE))


class Processes:
    """Some processes, used by as many threads of this one; one process is this one itself. Close it by `with`.

    Args:
        count: of processes.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="augment-files")
        self._idle: queue.SimpleQueue[_Child] = queue.SimpleQueue()
        self._children = [_Child() for _ in range(count)] if count > 1 else []
        for child in self._children:
            self._idle.put(child)

    def submit(self, task: Callable[..., T], *args: Any) -> Future[T]:
        """Call `task(run, ...)` in a thread; with `run(function, ...)` it has a function called in a process.

        The function belongs to a module, and what it is given and returns can be pickled.
        """
        return self._threads.submit(self._task, task, *args)

    def _task(self, task: Callable[..., T], *args: Any) -> T:
        if not self._children:
            return task(_here, *args)
        child = self._idle.get()
        try:
            return task(child.run, *args)
        finally:
            self._idle.put(child)

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *exception: object) -> None:
        if exception[0] is not None:
            for child in self._children:
                child.kill()  # nobody wants what they are at any more
        self._threads.shutdown(cancel_futures=True)
        for child in self._children:
            child.close()


def _here(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


class _Child:
    """One process and the pipe to it."""

    def __init__(self) -> None:
        self._pipe, theirs = Pipe()
        code = "import sys; from augment.dataset.processes import serve; serve(int(sys.argv[1]))"
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", code, str(theirs.fileno())], env=environment, pass_fds=[theirs.fileno()]
            )

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function there. Raises what it raises, and OSError if the process has ended."""
        try:
            self._pipe.send((function, args))
            succeeded, result = self._pipe.recv()
        except (EOFError, ConnectionError, BrokenPipeError):
            code = self._process.wait()
            raise OSError(
                f"a process that worked on the files of the dataset has ended with {code}; -9 is what the system does "
                "when memory runs out. Run the same command again."
            ) from None
        if not succeeded:
            raise result
        return result

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()

    def close(self) -> None:
        """Let the process end, and wait for it."""
        self._pipe.close()
        self._process.wait()


def serve(descriptor: int) -> None:
    """Do the tasks that come through a pipe until it is closed: the main function of such a process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all; who asked decides what becomes of it
    with Connection(descriptor) as pipe, contextlib.suppress(EOFError, ConnectionError, BrokenPipeError):
        while True:
            function, args = pipe.recv()
            try:
                answer = (True, function(*args))
            except Exception as error:  # it is raised there
                answer = (False, error)
            pipe.send(answer)
