"""Units in, reports out: in this process, or on a pool of Ray actors that grows and shrinks with its cluster.

Both runners have one signature and give the same bytes: a worker reads sources and writes parts itself, so a unit's
descriptor goes out, a small report comes back, and no image passes through here.
"""

from augment.distribute.local import run_local
from augment.distribute.pool import run_ray
from augment.distribute.run_config import MakeWorker, RunConfig, UnitWorker, Watch, WorkerError
from augment.distribute.signals import Interrupted, Stop, interruptible
from augment.distribute.task_queue import TaskQueue

__all__ = [
    "Interrupted",
    "MakeWorker",
    "RunConfig",
    "Stop",
    "TaskQueue",
    "UnitWorker",
    "Watch",
    "WorkerError",
    "interruptible",
    "run_local",
    "run_ray",
]
