"""Counts and costs of a run before it starts. No model is loaded and nothing is written.

augment plan configs/expand/emoji.yaml --price-per-gpu-hour 2.5
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from augment.distribute.config import in_one_process
from augment.inputs.listing import left_out_text, some
from augment.inputs.locate import absolute
from augment.ledger.ledger import Ledger
from augment.ledger.plan import cut, fingerprint_difference, pixels_hash_of
from augment.report.progress import duration
from augment.run.changes import with_new_keys, with_versions
from augment.run.config import ExpandConfig, check_class_names, fingerprint, job_sources, output_url, with_pinned_models
from augment.run.estimate import (
    PREVIEW_FOLDER,
    Disk,
    Measured,
    Work,
    disk_estimate,
    read_measured,
    relevant_settings,
    work_estimate,
)
from augment.run.findings import find
from augment.run.growth import Growth, compare
from augment.run.job_prompts import job_prompts, planned_edits, planned_units
from augment.run.moved_models import as_planned
from augment.run.prompt_file import load_prompts
from augment.storage.resolve import open_store
from augment.types import Source, Unit

_CLASSES_SHOWN = 12


@dataclass(frozen=True)
class PlanReport:
    """What a run would do, and what it would take.

    Attributes:
        sources: number of images.
        classes: number of images by class name.
        variants: number of edits of each image.
        planned: number of edits of all images.
        growth: of the edits, how many are new, and how many of an earlier run stay or go.
        units: number of units.
        workers: number of workers as configured; None for all that the cluster has.
        disk: bytes of the finished output.
        measured: the preview with these settings; None if there is none, then no time is known.
        work: time of the run; None if it is not known.
        price: of the worker-hours, in the currency of the price per hour; None if one of the two is not known.
        has_gpu: whether each worker has a GPU to itself.
        notes: what else to know, and what to do next.
        left_out: kind -> number of the files of the dataset that are not among its images.
    """

    sources: int
    classes: dict[str, int]
    variants: int
    planned: int
    growth: Growth
    units: int
    workers: int | None
    disk: Disk
    measured: Measured | None
    work: Work | None
    price: float | None
    has_gpu: bool
    notes: tuple[str, ...]
    left_out: Mapping[str, int]

    def as_dict(self) -> dict[str, Any]:
        """Return the content of `--json`."""
        return {
            "sources": self.sources,
            "classes": self.classes,
            "variants": self.variants,
            "planned": self.planned,
            "new": self.growth.new,
            "kept": self.growth.kept,
            "dropped": self.growth.dropped,
            "units": self.units,
            "workers": self.workers,
            "disk_bytes": asdict(self.disk) | {"total": self.disk.total},
            "seconds_per_edit": self.measured.seconds_per_edit if self.measured else None,
            "worker_hours": self.work.worker_hours if self.work else None,
            "hours": self.work.hours if self.work else None,
            "price": self.price,
            "left_out": dict(self.left_out),
            "notes": list(self.notes),
        }

    def lines(self) -> list[str]:
        """Return lines for a person."""
        common = Counter(self.classes).most_common(_CLASSES_SHOWN)
        shown = ", ".join(f"{name} {count}" for name, count in common)
        more = ", ..." if len(self.classes) > len(common) else ""
        sum_of = f"{self.planned} = {self.sources} images x {self.variants}"
        if self.planned != self.sources * self.variants:  # some have fewer prompts
            sum_of = f"{self.planned} of {self.sources} images"
        lines = [
            f"images          {self.sources} of {len(self.classes)} classes: {shown}{more}",
            f"edits           {sum_of}, in {self.units} units",
            *([f"to make         {self.growth.line()}"] if self.growth.kept or self.growth.dropped else []),
            f"disk            {_size(self.disk.total)}: parts {_size(self.disk.parts)}, shards "
            f"{_size(self.disk.shards)} ({self.disk.basis})",
        ]
        if self.work and self.measured:
            unit = "GPU-hours" if self.has_gpu else "worker-hours"
            per_edit = f"{self.measured.seconds_per_edit:.3g} s per edit on {self.measured.device}"
            lines.append(f"work            {self.work.worker_hours:.3g} {unit}, at {per_edit}")
        if self.work and self.work.hours is not None:
            workers = f"{self.workers} worker{'' if self.workers == 1 else 's'}"
            lines.append(f"time            {duration(self.work.hours * 3600)} with {workers}")
        if self.price is not None:
            lines.append(f"price           {self.price:.2f}")
        if self.left_out:
            lines.insert(1, f"left out        {left_out_text(self.left_out)}")
        return lines + [f"note            {note}" for note in self.notes]


def dry_run(config: ExpandConfig, price_per_hour: float | None = None) -> PlanReport:
    """Count what a run would do, and estimate what it would take.

    Args:
        config: with `prompts` absolute or relative to the working directory.
        price_per_hour: of one worker, in any currency; None if it is not known.

    Raises:
        ConfigError, InputError, ModelError, OutputError: if the config, the input or the output cannot be used.
    """
    config = with_pinned_models(config)
    prompts = load_prompts(config.prompts)
    sources, class_names, left_out = job_sources(config, prompts.columns)
    check_class_names(config, prompts, class_names)
    planner = job_prompts(config, prompts, sources, class_names)
    findings = find(config, prompts, planner, sources, class_names, left_out)
    findings.raise_any()
    ledger = Ledger(output_url(config))
    if ledger.store.list("commits"):
        sources = with_versions(ledger, sources)
    plan = ledger.read_plan()
    wanted = as_planned(fingerprint(config, planner, sources, class_names), plan.fingerprint if plan else {})
    url, notes = output_url(config), [*findings.warnings, *_key_notes(ledger, sources)]
    measured, about_it = _last_preview(url, relevant_settings(wanted, config))
    notes += about_it
    if plan is not None:
        notes.append(
            f"{url} has a plan already, with {len(ledger.store.list('commits'))} units done; disk is that of the whole "
            f"run, work and time are those of what is new. See `augment status {url}`"
        )
    run = config.run
    planned = planned_edits(config, planner, sources)
    units = sum(1 for _ in cut(sources, run.unit_size, lambda source: source.key))
    growth = Growth(new=planned, units=units)
    if config.reuse or ledger.store.list("commits"):
        growth = _growth(ledger, config, lambda: planned_units(config, planner, sources, wanted), wanted)
    alone = in_one_process(run, config.model.device)
    workers = 1 if alone else None if run.num_workers == "all" else run.num_workers
    todo = work_estimate(growth.new, growth.units, workers, measured) if measured else None
    if config.model.device.startswith("cuda") and not alone and run.workers_per_gpu > 1:
        notes.append(f"{run.workers_per_gpu} workers share a GPU; the time is that of a worker with a GPU to itself")
    if todo and todo.hours is None:
        notes.append("run.num_workers is `all`: divide the hours by the number of workers that there will be")
    counts = Counter(source.class_name for source in sources)
    return PlanReport(
        sources=len(sources),
        classes={name: counts[name] for name in sorted(class_names.values())},
        variants=config.variants_per_image,
        planned=planned,
        growth=growth,
        units=units,
        workers=workers,
        disk=disk_estimate(len(sources), planned, config.input.image_size, measured),
        measured=measured,
        work=todo,
        price=todo.worker_hours * price_per_hour if todo and price_per_hour is not None else None,
        has_gpu=config.model.device.startswith("cuda") and (alone or run.workers_per_gpu == 1),
        notes=tuple(notes),
        left_out=left_out,
    )


def _key_notes(ledger: Ledger, sources: Sequence[Source]) -> Iterator[str]:
    """Yield which images of the last plan have another key now."""
    if renamed := with_new_keys(ledger, sources):
        yield (
            f"{len(renamed)} images get another key, because new ones have the same name, and their edits are made "
            f"again: {some(renamed)}. Rename the new ones to keep them"
        )


def _last_preview(url: str, settings: Mapping[str, Any]) -> tuple[Measured | None, list[str]]:
    """Return what the last preview measured, None if it is not to be had, and notes about it.

    Args:
        settings: as in `relevant_settings`.
    """
    measured = read_measured(open_store(f"{url}/{PREVIEW_FOLDER}"))
    if measured is None:
        return None, ["run `augment preview` with this config first: its speed gives hours, and its pictures a look"]
    if difference := fingerprint_difference(measured.settings, as_planned(settings, measured.settings)):
        changed = "; ".join(line.replace(" in the plan", " in the preview") for line in difference)
        return None, [f"the last preview had other settings, so run `augment preview` again: {changed}"]
    if settings.get("input.fit") == "bucket":
        return measured, ["few images of a preview share a bucket: larger units fill their batches better than it did"]
    return measured, []


def _growth(
    ledger: Ledger, config: ExpandConfig, units: Callable[[], Iterator[Unit]], settings: Mapping[str, Any]
) -> Growth:
    """Compare the job's plan with what its output has already.

    Args:
        units: makes the units of the plan.
        settings: its fingerprint.
    """
    done = ledger.finished() if ledger.read_plan() is not None else {}
    reuse = [Ledger(absolute(out)) for out in config.reuse]
    unit_ids = [unit.unit_id for unit in units()]
    return compare(ledger, unit_ids, units(), done, pixels_hash_of(settings), reuse=reuse)


def _size(count: float) -> str:
    """Return a size in bytes as text with a unit in powers of ten: `640 kB`, `31.2 MB`, `5.46 TB`."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} PB"
