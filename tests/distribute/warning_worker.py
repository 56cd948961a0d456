"""Workers that warn, once while they are set up, in every unit once, and may fail after that."""

from __future__ import annotations

from augment.distribute.config import MakeWorker
from augment.run.worker_config import WorkerConfig
from augment.types import UnitReport, UnitTask
from tests.distribute.plain_worker import plain_worker


def warning_worker(behaviour: str = "") -> MakeWorker:
    """A worker class, made in a function so that it travels to other processes by value.

    `behaviour`: of `plain_worker`.
    """
    make = plain_worker(behaviour)

    class WarningWorker:
        def __init__(self, config: WorkerConfig) -> None:
            self.worker = make(config)

        def setup(self) -> None:
            import logging

            logging.getLogger("diffusers.loading").warning("some weights are odd")
            self.worker.setup()

        def run_unit(self, task: UnitTask) -> UnitReport:
            import logging

            logging.getLogger("augment.run").warning("unit %s is odd", task.unit.unit_id)
            return self.worker.run_unit(task)

    return WarningWorker
