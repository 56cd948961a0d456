"""The main job: a dataset and a config -> shards of edits. Plan -> parts -> finalize; each step can be run again."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import platform
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from augment.budget import FailureBudget
from augment.config import ConfigError, load_config, resolved_yaml
from augment.data.finalize import ShardLimits
from augment.data.finalize import finalize as publish
from augment.data.journal import Suspects
from augment.data.lease import Lease
from augment.data.ledger import Ledger, OutputError
from augment.data.patience import PatientStore
from augment.data.plan import Plan, cut_units, fingerprint_difference, relocate
from augment.distribute import MakeWorker, Watch, run_local, run_ray
from augment.filters import judge_edit
from augment.job import ExpandConfig, fingerprint, job_sources, output_url, worker_config
from augment.models.config import check_clip, pinned
from augment.overview import CONTACT_SHEET, FILES, write_overview
from augment.prompts import PromptConfig, plan_source, unused_classes
from augment.report.progress import RunProgress
from augment.types import Source, UnitReport
from augment.worker import Worker

logger = logging.getLogger(__name__)
STATUS_SECONDS = 10.0
Display = Callable[[RunProgress], AbstractContextManager[Callable[[], None]]]


@dataclass(frozen=True)
class Summary:
    """How a run ended.

    Attributes:
        out: the output folder or URL.
        manifest: the content of `manifest.json`.
        edits_made, seconds: edits of this run, and the time they took with start and end of the workers; 0 if nothing
            was left to do.
    """

    out: str
    manifest: dict[str, Any]
    edits_made: int
    seconds: float

    def lines(self) -> list[str]:
        """What to tell a person."""
        m = self.manifest
        shards = [f"{self.out}/{name}" for name in m["files"] if name.startswith("shards/") and name.endswith(".tar")]
        more = f" and {len(shards) - 3} more" if len(shards) > 3 else ""
        parts = " + ".join(f"{m[name]} {name}" for name in ("accepted", "rejected", "failed"))
        psnr, bound = m["mean_reconstruction_psnr"], m["mean_vae_psnr"]
        rate = f"{self.edits_made / self.seconds:.2f} edits/s" if self.edits_made else "nothing was left to do"
        return [
            f"shards          {', '.join(shards[:3]) or 'none'}{more}",
            f"edits           {m['planned']} planned = {parts}",
            f"reconstruction  {psnr:.2f} dB mean PSNR; VAE alone, the bound: {bound:.2f} dB",
            f"speed           {rate}",
            f"contact sheet   {self.out}/{CONTACT_SHEET}",
        ]


def no_display(progress: RunProgress) -> AbstractContextManager[Callable[[], None]]:
    """For runs that nobody watches."""
    return nullcontext(lambda: None)


def expand(
    config: ExpandConfig,
    *,
    display: Display = no_display,
    choose: Callable[[list[Source]], list[Source]] = list,
    retry_failed: bool = False,
    make_worker: MakeWorker = Worker,
) -> Summary:
    """Do whatever is left to do: plan, edit, publish. Run it again after an interruption and it goes on.

    Args:
        config: with `prompts` absolute or relative to the working directory.
        display: shows the progress; what it gives is called about every second.
        choose: which of the dataset's images to take.
        retry_failed: make units in which anything failed once more, quarantined inputs among them. What they hold now
            counts until it is replaced.
        make_worker: who makes the edits.

    Raises:
        ConfigError, InputError, PromptError, OutputError: if the config, the input or the output cannot be used; raised
            before any worker starts.
        BudgetExceeded: if more fails than the budget allows, with all finished units kept.
        Interrupted: on SIGTERM or SIGINT, with all finished units kept.
    """
    # Once, here: no two workers and no later run may get other weights under the same name.
    config = config.model_copy(update={"model": pinned(config.model)})
    check_clip(config.clip.name)
    prompts = load_config(config.prompts, PromptConfig)
    sources, class_names = job_sources(config)
    check_class_names(config, prompts, class_names)
    sources = choose(sources)
    settings = fingerprint(config, prompts, sources, class_names)
    ledger = Ledger(output_url(config))
    with ledger.lock() as lease:
        plan = ledger.read_plan()
        done = ledger.recover(plan) if plan else {}
        if plan is None or (not done and fingerprint_difference(plan.fingerprint, settings)):
            planned = (plan_source(s, prompts, config.variants_per_image, config.seed) for s in sources)
            plan = ledger.write_plan(settings, cut_units(planned, config.run.unit_size), class_names)
        ledger.check_fingerprint(plan, settings)
        ledger.write_run_file("config.resolved.yaml", resolved_yaml(config))
        locators = {s.key: s.locator for s in sources}
        began, made = time.monotonic(), 0
        again = frozenset(unit_id for unit_id, report in done.items() if report.failed) if retry_failed else frozenset()
        if len(done) < plan.units or again:
            ledger.write_run_file("env.json", _environment())
            kept = {unit_id: report for unit_id, report in done.items() if unit_id not in again}
            made = sum(r.edited for r in _run(ledger, lease, config, plan, kept, again, locators, display, make_worker))
        seconds = time.monotonic() - began
        manifest = _publish(ledger, config, locators)
    return Summary(ledger.store.url, manifest, made, seconds)


def check_class_names(config: ExpandConfig, prompts: PromptConfig, class_names: Mapping[int, str]) -> None:
    """Raise ConfigError if the prompts name a class that the dataset does not have."""
    if unused := unused_classes(prompts, class_names.values()):
        known = ", ".join(sorted(class_names.values())[:20]) + (", ..." if len(class_names) > 20 else "")
        reason = f"is no class of the dataset, but overrides or exclude name it; known are {known}"
        raise ConfigError(str(config.prompts), [f"class {name!r} {reason}" for name in unused])


def _run(
    ledger: Ledger,
    lease: Lease,
    config: ExpandConfig,
    plan: Plan,
    kept: Mapping[str, UnitReport],
    again: frozenset[str],
    locators: Mapping[str, str],
    display: Display,
    make_worker: MakeWorker,
) -> Iterator[UnitReport]:
    """Make the units that are not `kept`, and yield their reports; keeps `run/status.json` up to date."""
    budget = FailureBudget(config.budget, kept.values())
    budget.check()
    if again:
        Suspects(ledger.store).pardon(unit for unit in ledger.units() if unit.unit_id in again)
    runner = run_ray if config.run.executor == "ray" else run_local
    planned = Ledger(PatientStore(ledger.store)).units()
    pending = (relocate(unit, locators) for unit in planned if unit.unit_id not in kept)
    progress = RunProgress(plan.planned, kept.values())
    with display(progress) as show:
        watch = _RunWatch(ledger, lease, progress, show)
        watch.write_status("running")
        state = "failed"
        try:
            # Closed explicitly: a signal may strike here, outside of the runner, and its workers must not outlive that.
            with closing(
                runner(worker_config(config, plan), pending, config.run, make_worker, replaces=again, watch=watch)
            ) as reports:
                for report in reports:
                    progress.observe(report)
                    ledger.log.add("unit", dataclasses.asdict(report))
                    show()
                    budget.observe(report)
                    yield report
            Suspects(ledger.store).acquit()
            state = "finished"
        except (Exception, GeneratorExit):
            raise
        except BaseException:
            state = "interrupted"
            raise
        finally:
            with contextlib.suppress(OutputError):
                lease.check()  # the status is the new driver's once the lease is lost
                watch.write_status(state)


class _RunWatch(Watch):
    """Keeps the log, the status file and the display, and stops a driver that has lost its lease."""

    def __init__(self, ledger: Ledger, lease: Lease, progress: RunProgress, show: Callable[[], None]) -> None:
        self._ledger, self._lease, self._progress, self._show = ledger, lease, progress, show
        self._written = 0.0

    def tick(self, workers: int) -> None:
        self._lease.check()
        self._progress.workers = workers
        self._show()
        if time.monotonic() - self._written > STATUS_SECONDS:
            self.write_status("running")

    def event(self, kind: str, content: Mapping[str, Any]) -> None:
        self._ledger.log.add(kind, content)

    def write_status(self, state: str) -> None:
        """`run/status.json`: how far it is, as of now."""
        self._written = time.monotonic()
        who = {"host": socket.gethostname(), "process": os.getpid(), "time": time.time()}
        try:
            self._ledger.write_run_file("status.json", who | {"state": state} | self._progress.as_dict())
        except OSError as error:  # no reason to stop: the units are what counts
            logger.warning("run/status.json was not written: %s", error)


def finalize(out: Path | str, overrides: Sequence[str] = (), config_path: Path | str | None = None) -> Summary:
    """Publish an output folder again, under other thresholds or shard limits, or because a published file is damaged.

    Needs no model and no sources.

    Args:
        overrides: `filters.min_label_probability=0.8`, `output.max_shard_samples=500`, ...
        config_path: take `filters` and the shard limits from this config instead of the run's own.

    Raises:
        ConfigError: if something else is overridden. OutputError: if the folder is not finished.
    """
    ledger = Ledger(out)
    if foreign := [o for o in overrides if not o.startswith(("filters.", "filters=", "output.max_"))]:
        reason = "finalize changes filters.* and output.max_* only; all else needs `augment expand`"
        raise ConfigError("the overrides", [f"-o {o}: {reason}" for o in foreign])
    try:
        resolved = ledger.store.read("run/config.resolved.yaml")
    except (FileNotFoundError, NotADirectoryError):
        raise OutputError(
            f"{out} has no run/config.resolved.yaml: it is no output folder of `augment expand`."
        ) from None
    with ledger.store.scratch() as folder:
        own = folder / "config.resolved.yaml"
        own.write_bytes(resolved)
        try:
            config = load_config(own, ExpandConfig)
            changed = load_config(config_path or own, ExpandConfig, overrides)
        except ConfigError as error:
            known = ledger.store.at("run/config.resolved.yaml")
            raise ConfigError(
                error.source.replace(str(own), known), [p.replace(str(own), known) for p in error.problems]
            ) from None
    limits = changed.output.model_copy(update={"path": ledger.store.url})
    config = config.model_copy(update={"filters": changed.filters, "output": limits})
    with ledger.lock():
        manifest = _publish(ledger, config, {}, check_hashes=True)
        ledger.write_run_file("config.resolved.yaml", resolved_yaml(config))
    return Summary(ledger.store.url, manifest, 0, 0.0)


def _publish(
    ledger: Ledger, config: ExpandConfig, locators: dict[str, str], check_hashes: bool = False
) -> dict[str, Any]:
    result = publish(
        ledger,
        judge=partial(judge_edit, config=config.filters),
        judge_settings=config.filters.model_dump(mode="json"),
        limits=ShardLimits(**config.output.model_dump(exclude={"path"})),
        derived=FILES,
        check_hashes=check_hashes,
    )
    if result.changed or not all(ledger.store.exists(name) for name in FILES):
        write_overview(ledger, result.manifest, locators)
    return result.manifest


def _environment() -> dict[str, Any]:
    packages = ("torch", "diffusers", "transformers", "ray", "webdataset", "pillow", "numpy", "pyarrow")
    return {
        "python": platform.python_version(),
        "machine": platform.platform(),
        "packages": {name: version(name) for name in packages},
    }
