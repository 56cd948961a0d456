"""`augment benchmark`: inversion methods, and the edits made with them, on the same images in one run."""

from __future__ import annotations

import json
import logging
import platform
from pathlib import Path
from typing import Any, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator

from augment.editing.edits import round_trip_psnr
from augment.editing.inverted import size_of
from augment.evaluation.editing import EditingSection, check_editing, measure_editing
from augment.evaluation.instance import InstanceSection, check_instance, measure_instance
from augment.evaluation.instance_scores import prepare_judges
from augment.evaluation.plots import plots
from augment.evaluation.sweep import InversionSection, measure_section
from augment.evaluation.tables import csv_table, with_nulls
from augment.evaluation.throughput import ThroughputSection, measure_throughput, throughput_schedule
from augment.models.clip import load_clip
from augment.models.config import ModelConfig, pinned
from augment.models.load import load_model
from augment.models.text_readers import model_readers
from augment.prompts.lengths import cut_among
from augment.seeding import seed_for
from augment.storage.tar import write_bytes_atomic
from augment.tiny.evaluate import Pictures, background_edit_prompts, load_split

logger = logging.getLogger(__name__)
TABLES = {
    "rows": "report.csv",
    "noise_maps": "noise_maps.csv",
    "editing": "editing.csv",
    "instance": "instance.csv",
    "instance_leads": "instance_leads.csv",
    "throughput": "throughput.csv",
}


class BenchmarkConfig(BaseModel):
    """`configs/benchmark/*.yaml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: ModelConfig = ModelConfig()
    split: Literal["train", "val", "test"] = Field(
        default="val", description="shipped split the images come from; its captions and judge are of emoji world"
    )
    num_images: int = Field(default=64, ge=1, description="the first so many pictures of the split")
    batch_size: int = Field(default=16, ge=1, description="images inverted together")
    inversion: InversionSection | None = Field(default=None, description="reconstruction table")
    editing: EditingSection | None = Field(default=None, description="editing table")
    instance: InstanceSection | None = Field(default=None, description="instance table; needs the emoji font")
    throughput: ThroughputSection | None = Field(default=None, description="images per second and memory")

    @model_validator(mode="after")
    def _measures_something(self) -> Self:
        if all(part is None for part in (self.inversion, self.editing, self.instance, self.throughput)):
            raise ValueError(
                "nothing to measure: it needs one of the sections inversion, editing, instance, throughput"
            )
        return self


def run_benchmark(config: BenchmarkConfig, out: Path) -> dict[str, Any]:
    """Measure what the config asks for; write tables and plots to `out`, and return the content of its report.json.

    Raises:
        ModelError: if the model cannot be loaded, or cannot run a row; before anything is measured.
        FileNotFoundError: if the instance table is asked for and there is no emoji font.
    """
    config = config.model_copy(update={"model": pinned(config.model)})
    pictures = load_split(config.split, config.num_images)
    _warn_of_cut_captions(config, pictures)
    model = load_model(config.model)
    report: dict[str, Any] = {
        "bound_psnr": float(round_trip_psnr(model, pictures.images).mean()),
        "n": len(pictures.sources),
        "split": config.split,
        "model": model.model_id,
        "revision": model.revision,
        "machine": {"processor": platform.machine(), "threads": torch.get_num_threads(), "device": str(model.device)},
        "rows": [],
    }
    # What the model cannot run is said before anything is measured; what has been measured is written at once.
    if config.editing is not None:
        check_editing(model, config.editing)
    if config.instance is not None:
        check_instance(model, config.instance)
    if config.throughput is not None:
        throughput_schedule(model, config.throughput, size_of(pictures.images))
    if config.inversion is not None:
        seeds = [seed_for("benchmark", source.key) for source in pictures.sources]
        report |= measure_section(model, pictures.images, pictures.captions, seeds, config.inversion, config.batch_size)
        _write(report, out)
    if config.editing is not None:
        report["editing"] = measure_editing(model, pictures, config.editing, load_clip(), config.batch_size)
        _write(report, out)
    if config.instance is not None:

        def write_instance(rows: list[dict[str, Any]], leads: list[dict[str, Any]]) -> None:
            report["instance"], report["instance_leads"] = rows, leads
            _write(report, out)

        measure_instance(model, config.instance, prepare_judges(out / "judges"), config.batch_size, write_instance)
    if config.throughput is not None:
        rows = measure_throughput(model, pictures.images, pictures.captions, config.throughput)
        report["throughput"] = [row.as_dict() for row in rows]
        _write(report, out)
    return report


def _warn_of_cut_captions(config: BenchmarkConfig, pictures: Pictures) -> None:
    """Say which captions and edit prompts the model does not read to their end."""
    objects = pictures.attribute("object")
    wanted = dict(zip(pictures.captions, objects, strict=True))
    if config.editing is not None:
        wanted |= dict(zip(background_edit_prompts(pictures)[1], objects, strict=True))
    if cut := cut_among(wanted, model_readers(config.model)):
        logger.warning(
            "warning: model.name: %d of the %d prompts of the split %r are longer than %r reads: of %r it reads %r, "
            "and is measured on that. Name a model that reads more",
            *(len(cut), len(wanted), config.split, config.model.name, cut[0].text, max(cut[0].read.values(), key=len)),
        )


def _write(report: dict[str, Any], out: Path) -> None:
    """Write the report, its tables and its plots to a folder."""
    out.mkdir(parents=True, exist_ok=True)
    # The figures first: what took an hour to measure is not lost to a plot.
    figures = with_nulls(report)
    write_bytes_atomic(out / "report.json", (json.dumps(figures, indent=2, allow_nan=False) + "\n").encode())
    for key, file in TABLES.items():
        if figures.get(key):
            write_bytes_atomic(out / file, csv_table(figures[key]).encode())

    for name, content in plots(report).items():
        write_bytes_atomic(out / name, content)
