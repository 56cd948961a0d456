"""The main job, from a dataset and a config to shards of edits. It plans, edits and publishes, and can be resumed."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import platform
import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

from augment.config import resolved_yaml
from augment.distribute.config import MakeWorker, in_one_process
from augment.distribute.local import run_local
from augment.distribute.process_workers import run_processes
from augment.distribute.ray_workers import run_ray
from augment.errors import OutputError
from augment.inputs.locate import absolute
from augment.ledger.in_flight import Suspects
from augment.ledger.lease import Lease
from augment.ledger.ledger import Ledger
from augment.ledger.plan import Plan, fingerprint_difference, relocate
from augment.prompts import PromptSource
from augment.report.progress import RunProgress
from augment.run.budget import FailureBudget
from augment.run.changes import absent, record_inputs, with_versions
from augment.run.config import ExpandConfig, fingerprint, output_url
from augment.run.finalize import RESOLVED, Summary, publish_run, unpublished
from augment.run.findings import checked_job
from augment.run.growth import Growth, compare
from augment.run.job_prompts import planned_units
from augment.run.moved_models import as_planned
from augment.run.rescoring import settings_to_plan
from augment.run.reuse_findings import check_reuse
from augment.run.watch import Display, RunWatch, no_display
from augment.run.worker import Worker
from augment.run.worker_config import WorkerConfig, worker_config
from augment.storage.retry import RetryingStore
from augment.types import FinishedPart, Source, Unit, UnitReport

logger = logging.getLogger(__name__)
_RESOLVED = RESOLVED.removeprefix("run/")


def load_worker(config: WorkerConfig) -> Worker:
    """Return a worker with real models, which it loads in its `setup`.

    torch is imported here and not above, because a run with nothing left to do, and a driver whose workers run on
    other machines, do not need it.
    """
    from augment.run.editor import load_editor  # noqa: PLC0415

    return Worker(config, load_editor)


def expand(
    config: ExpandConfig,
    *,
    display: Display = no_display,
    choose: Callable[[list[Source]], list[Source]] = list,
    retry_failed: bool | Collection[str] = False,
    replace: bool = False,
    make_worker: MakeWorker = load_worker,
) -> Summary:
    """Plan, edit and publish a dataset, or what earlier runs have left to do.

    The dataset may have grown since: images, classes, prompts and variants may be others. Edits that are still wanted
    stay as they are, the missing ones are made, and what is not wanted any more is dropped.

    Args:
        config: with `prompts` absolute or relative to the working directory.
        display: shows the progress.
        choose: selects from the dataset's images.
        retry_failed: try failed edits again, quarantined inputs included; names of stages: only in units in which edits
            failed at one of these (`STAGES`). The present commit of a unit stays valid until it is replaced.
        replace: make all edits anew if a setting has changed that changes their pixels. What is published stays until
            they are made.
        make_worker: makes the workers.

    Raises:
        ConfigError, InputError, PromptError, OutputError: if the config, the input or the output cannot be used; raised
            before any worker starts.
        UnreachableError: if the inputs do not answer any more, with all finished units kept.
        BudgetExceeded: if more fails than the budget allows, with all finished units kept.
        Interrupted: on SIGTERM or SIGINT, with all finished units kept.
    """
    job = checked_job(config)
    config, prompts, class_names, sources = job.config, job.prompts, job.class_names, choose(job.sources)
    ledger = Ledger(output_url(config))
    with ledger.lock() as lease:
        plan, done = _planned(ledger, config, prompts, sources, class_names, replace=replace)
        ledger.write_run_file(_RESOLVED, resolved_yaml(unpublished(ledger, config)))
        locators = {s.key: s.locator for s in sources}
        began, made, failed = time.monotonic(), 0, 0
        masks = {s.key: s.mask for s in sources if s.mask}
        todo = _todo(ledger, plan, done, config, locators, masks, retry_failed=retry_failed)
        if len(todo.kept) < plan.units:
            ledger.write_run_file("env.json", _environment())
            made, failed = _counts(_run(todo, lease, config, display, make_worker))
            done = ledger.recover()  # without the parts that were replaced, or of a worker that outlived its driver
        seconds = time.monotonic() - began
        manifest = publish_run(ledger, config, locators, done)
        ledger.write_run_file(_RESOLVED, resolved_yaml(config))
        ledger.forget_other_plans(plan)
    return Summary(ledger.store.url, manifest, made, seconds, failed)


def _planned(
    ledger: Ledger,
    config: ExpandConfig,
    prompts: PromptSource,
    sources: Sequence[Source],
    class_names: Mapping[int, str],
    *,
    replace: bool,
) -> tuple[Plan, dict[str, UnitReport]]:
    """Return the plan, written if it is new or another one, and the reports of all that is done in the folder."""
    plan, done = ledger.read_plan(), ledger.recover()
    gone: list[Source] = []
    if plan is not None and done:
        gone, sources = absent(ledger, sources), with_versions(ledger, sources)
    settings = as_planned(fingerprint(config, prompts, sources, class_names), plan.fingerprint if plan else {})
    if plan is not None and done:
        if not replace:
            ledger.check_pixels(plan, settings)
        settings = settings_to_plan(plan, settings, gone)
    if plan is None or fingerprint_difference(plan.fingerprint, settings):
        check_reuse(config)
        plan = ledger.write_plan(settings, planned_units(config, prompts, sources, settings), class_names)
    record_inputs(ledger, sources)
    return plan, done


def _todo(
    ledger: Ledger,
    plan: Plan,
    done: Mapping[str, UnitReport],
    config: ExpandConfig,
    locators: Mapping[str, str],
    masks: Mapping[str, str],
    *,
    retry_failed: bool | Collection[str],
) -> _Todo:
    """Return what is left to do of a plan, and say what of it was there before."""
    kept = {unit_id: done[unit_id] for unit_id in plan.unit_ids if unit_id in done}
    again = frozenset(unit_id for unit_id, report in kept.items() if _is_retried(report, retry_failed))
    kept = {unit_id: report for unit_id, report in kept.items() if unit_id not in again}
    growth = Growth()
    if len(kept) < plan.units and (done.keys() - kept.keys() or config.reuse):
        others = [Ledger(absolute(out)) for out in config.reuse]
        growth = compare(ledger, plan.unit_ids, ledger.units(), done, plan.pixels_hash, again=again, reuse=others)
        logger.warning("%s", growth.line())
    to_keep = growth.kept - sum(report.planned for report in kept.values()) if growth.found_in else 0
    with_quarantined = retry_failed is True or (not isinstance(retry_failed, bool) and "quarantine" in retry_failed)
    return _Todo(ledger, plan, kept, again, locators, masks, growth.found_in, to_keep, with_quarantined)


def _is_retried(report: UnitReport, retry_failed: bool | Collection[str]) -> bool:
    if isinstance(retry_failed, bool):
        return retry_failed and report.failed > 0
    return not report.failed_by_stage.keys().isdisjoint(retry_failed)


def _counts(reports: Iterator[UnitReport]) -> tuple[int, int]:
    """Return how many edits were made, and how many failed."""
    made = failed = 0
    for report in reports:
        made, failed = made + report.edited - report.kept, failed + report.failed
    return made, failed


@dataclass(frozen=True)
class _Todo:
    """The part of a plan that is left to do.

    Attributes:
        ledger: of the output folder.
        plan: the whole plan.
        kept: reports of the units that stay as they are, by id.
        again: ids of committed units that are made again.
        locators: source key -> where the source lies.
        masks: source key -> where its mask lies, for those that have one.
        found_in: unit id -> parts in which some of its edits are found.
        to_keep: number of the edits that are found there.
        with_quarantined: whether quarantined inputs of units made again are tried again, too.
    """

    ledger: Ledger
    plan: Plan
    kept: Mapping[str, UnitReport]
    again: frozenset[str]
    locators: Mapping[str, str]
    masks: Mapping[str, str]
    found_in: Mapping[str, tuple[FinishedPart, ...]]
    to_keep: int
    with_quarantined: bool

    def units(self) -> Iterator[Unit]:
        """Yield the units to make, read from the plan as they are needed."""
        planned = Ledger(RetryingStore(self.ledger.store)).units()
        return (
            dataclasses.replace(relocate(unit, self.locators, self.masks), found_in=self.found_in.get(unit.unit_id, ()))
            for unit in planned
            if unit.unit_id not in self.kept
        )


def _run(
    todo: _Todo, lease: Lease, config: ExpandConfig, display: Display, make_worker: MakeWorker
) -> Iterator[UnitReport]:
    """Make the units that are left, and yield their reports; keep `run/status.json` up to date."""
    ledger = todo.ledger
    budget = FailureBudget(config.budget, todo.kept.values())
    budget.check()
    if todo.again and todo.with_quarantined:
        Suspects(ledger.store).reset(unit for unit in ledger.units() if unit.unit_id in todo.again)
    run, workers, units = _runner(config), worker_config(config, todo.plan), todo.units()
    progress = RunProgress(todo.plan.planned, todo.kept.values(), to_keep=todo.to_keep)
    with display(progress) as show:
        watch = RunWatch(ledger, lease, progress, show)
        watch.write_status("running")
        state = "failed"
        try:
            # Closed explicitly: after an exception in this loop, a signal included, the runner must stop its workers.
            with closing(run(workers, units, config.run, make_worker, replaces=todo.again, watch=watch)) as reports:
                for report in reports:
                    progress.observe(report)
                    ledger.log.add("unit", dataclasses.asdict(report))
                    show()
                    budget.observe(report)
                    yield report
            Suspects(ledger.store).clear()
            state = "finished"
        except (Exception, GeneratorExit):
            raise
        except BaseException:
            state = "interrupted"
            raise
        finally:
            with contextlib.suppress(OutputError):
                lease.confirm()  # once the lease is lost, the status belongs to the new driver
                watch.write_status(state)


def _runner(config: ExpandConfig) -> Callable[..., Generator[UnitReport, None, None]]:
    """Return what does the units: on a Ray, on processes of this machine, or in this process."""
    if config.run.executor == "ray":
        return run_ray
    if in_one_process(config.run, config.model.device):
        return run_local
    from augment.run.devices import places_here  # noqa: PLC0415  # imports torch

    return partial(run_processes, places=places_here(config.run))


def _environment() -> dict[str, Any]:
    packages = ("torch", "diffusers", "transformers", "ray", "webdataset", "pillow", "numpy", "pyarrow")
    return {
        "python": platform.python_version(),
        "machine": platform.platform(),
        "packages": {name: version(name) for name in packages},
    }
