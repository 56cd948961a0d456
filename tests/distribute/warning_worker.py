"""Workers that warn, once while they are set up, in every unit once, and may fail after that."""

from __future__ import annotations

import functools
import logging

from augment.distribute.config import MakeWorker
from augment.types import UnitReport, UnitTask
from tests.distribute.plain_worker import PlainWorker


class WarningWorker(PlainWorker):
    """Warns, and then does as a `PlainWorker`."""

    def setup(self) -> None:
        logging.getLogger("diffusers.loading").warning("some weights are odd")
        super().setup()

    def run_unit(self, task: UnitTask) -> UnitReport:
        logging.getLogger("augment.run").warning("unit %s is odd", task.unit.unit_id)
        return super().run_unit(task)


def warning_worker(behaviour: str = "") -> MakeWorker:
    """What makes a `WarningWorker`, here or in another process."""
    return functools.partial(WarningWorker, behaviour=behaviour)
