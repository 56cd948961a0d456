"""The strength and the guidance for a dataset, found on a few of its images before the run.

augment tune configs/expand/emoji.yaml --write
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from augment.config import with_values
from augment.editing.config import Setting
from augment.errors import ConfigError, InputError
from augment.ledger.ledger import Ledger
from augment.report.contact_sheet import Tile, contact_sheet
from augment.run.config import ExpandConfig, output_url
from augment.run.findings import checked_job
from augment.run.preview import over_classes
from augment.run.tune_choice import SettingRow, TuneReport, pareto_front, setting_row
from augment.run.tune_edits import SettingSweep
from augment.run.worker_config import BatchConfig, batch_fields
from augment.storage.local_store import check_local_folder
from augment.storage.tar import write_bytes_atomic
from augment.types import PlannedSource

logger = logging.getLogger(__name__)

TUNE_FOLDER = "tune"  # in the output folder
VARIANTS = 2  # edits of each image, the first that the run would make
_ON_SHEET = 8  # images


def tune(
    config: ExpandConfig,
    count: int = 24,
    *,
    strengths: Sequence[float] = (),
    guidance_scales: Sequence[float] = (),
    say: Callable[[str], None] = logger.info,
) -> TuneReport:
    """Edit a few images, spread over the classes, under a grid of settings, and recommend one of them.

    The edits are the first of those that the run would make of these images, and their scores are the run's. The report
    and a contact sheet are written to `<output.path>/tune`, over those of an earlier call.

    Args:
        config: of the whole run.
        count: number of images.
        strengths, guidance_scales: to combine; () for the defaults, see `SettingSweep.grid`.
        say: is told the progress, a line for each batch.

    Raises:
        ConfigError, InputError, PromptError, ModelError, OutputError: if the config, the input or the output cannot be
            used, or fewer than two images can be edited.
    """
    began, cpu = time.monotonic(), time.process_time()
    sample = planned_sample(config, count)
    ledger = Ledger(f"{output_url(config)}/{TUNE_FOLDER}")
    with ledger.lock():  # before minutes are spent on what cannot be written
        swept, grid = sweep_sample(sample, strengths, guidance_scales, say)
        edited = [one for one in sample.planned if one.source.key not in swept.skipped]
        if len(edited) < 2:
            why = "; ".join(f"{key}: {reason}" for key, reason in list(swept.skipped.items())[:3])
            raise InputError(
                f"input.path: {len(edited)} of {len(sample.planned)} images could be edited, and a comparison needs "
                "two or more" + (f" ({why})" if why else "")
            )
        report = TuneReport(
            out=ledger.store.url,
            rows=measured_rows(config, swept, [one.source.key for one in edited], grid),
            current=Setting(config.editing.strength, config.editing.guidance_scale),
            images=len(edited),
            skipped=swept.skipped,
            seconds=time.monotonic() - began,
            cpu_seconds=time.process_time() - cpu,
        )
        ledger.store.write("report.json", (json.dumps(report.as_dict(), indent=2) + "\n").encode())
        ledger.store.write("contact_sheet.png", _sheet(edited[:_ON_SHEET], swept, report))
    return report


class TuneSample(NamedTuple):
    """Some of a job's images with the first edits that the run would make of them.

    Attributes:
        config: of the job, its model pinned to a revision.
        planned: the images, spread over the classes.
        class_names: label -> class name, of the whole dataset.
    """

    config: ExpandConfig
    planned: list[PlannedSource]
    class_names: dict[int, str]


def planned_sample(config: ExpandConfig, count: int) -> TuneSample:
    """Return `count` images of a job; what is odd about its words and files is logged as a warning.

    Raises:
        ConfigError, InputError, PromptError, ModelError, OutputError: as `expand` does before any worker starts, and
            for a config that chooses among candidates.
    """
    if config.editing.candidates is not None:
        why = "chooses a strength and a guidance scale for every edit itself; tune with -o editing.candidates=null"
        raise ConfigError("the config", [f"editing.candidates: {why}"])
    job = checked_job(config)
    variants = min(VARIANTS, config.variants_per_image)
    chosen = over_classes(job.sources, count)
    planned = [job.prompts.plan(s, config.variants_per_image, config.seed) for s in chosen]
    first = [replace(p, variants=p.variants[:variants]) for p in planned if p.variants]
    return TuneSample(job.config, first, job.class_names)


def sweep_sample(
    sample: TuneSample, strengths: Sequence[float], guidance_scales: Sequence[float], say: Callable[[str], None]
) -> tuple[SettingSweep, list[Setting]]:
    """Return the edits and the scores of a sample under every setting of a grid, and the grid; see `tune`."""
    config = sample.config
    torch.set_num_threads(config.run.threads_per_worker)
    swept = SettingSweep(_batch_config(config, sample.class_names), config.run.first_batch_size(config.model.device))
    grid = swept.grid(strengths, guidance_scales)
    swept.run(sample.planned, grid, say)
    return swept, grid


def measured_rows(
    config: ExpandConfig, swept: SettingSweep, keys: Sequence[str], grid: Sequence[Setting]
) -> tuple[SettingRow, ...]:
    """Return a row for each setting of a grid, over the edits of the sources with these keys."""
    threshold = config.filters.min_label_probability
    return tuple(
        setting_row(s, swept.steps(s.strength), [swept.scores[s][key] for key in keys], threshold) for s in grid
    )


def check_editable(path: Path) -> None:
    """Raise ConfigError or OutputError if `write_setting` could not write another setting into a config file."""
    real = Path(os.path.realpath(path))
    check_local_folder(real.parent, "--write")
    with_values(real.read_bytes().decode(), str(path), "editing", Setting(-1.0, -1.0)._asdict())  # which none has


def write_setting(path: Path, setting: Setting) -> bool:
    """Write a setting into the `editing` section of a config file; return whether the file had another one.

    All else in the file stays byte for byte, comments included. A link is followed.

    Raises:
        ConfigError: if the file is written in a way that cannot be edited safely; it is left as it is.
    """
    real = Path(os.path.realpath(path))
    text = real.read_bytes().decode()
    changed = with_values(text, str(path), "editing", setting._asdict())
    if changed == text:
        return False
    mode = real.stat().st_mode
    write_bytes_atomic(real, changed.encode())
    real.chmod(mode)
    return True


def _batch_config(config: ExpandConfig, class_names: dict[int, str]) -> BatchConfig:
    # The hashes are of records, which are not written here.
    return BatchConfig(**batch_fields(config, class_names), config_hash="", pixels_hash="")


def _sheet(shown: Sequence[PlannedSource], swept: SettingSweep, report: TuneReport) -> bytes:
    """Return a picture with one row per image: the source, then its first edit in every setting of the front.

    The recommended setting comes first.
    """
    best = report.recommended
    columns = [best, *(row for row in pareto_front(report.rows) if row is not best)]
    rows = []
    for one in shown:
        key = one.source.key
        edits = [Tile(swept.pictures[row.setting][key][0], one.variants[0].prompt) for row in columns]
        rows.append([Tile(swept.sources[key], one.source.class_name), *edits])
    names = [f"{row.setting.strength:g} x {row.setting.guidance_scale:g}" for row in columns]
    title = "strength x guidance scale on the Pareto front; the recommended one first"
    return contact_sheet(rows, title, ("source", *names))
