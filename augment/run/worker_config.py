"""The settings of a worker: what of the job determines the pixels and the scores of edits, and how it works."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from augment.distribute.config import in_one_process
from augment.editing.config import EditConfig
from augment.filters import FilterConfig
from augment.inputs.colour import ColourName
from augment.inputs.fit import FitName
from augment.ledger.plan import Plan
from augment.models.config import ClipConfig, ModelConfig
from augment.models.segmentation_files import SegmentationConfig
from augment.run.config import ExpandConfig, output_url
from augment.run.moved_models import Identities, identities


class BatchConfig(BaseModel):
    """All settings that determine the pixels and the scores of edits, given the images and their prompts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: ModelConfig
    editing: EditConfig
    segmentation: SegmentationConfig | None = None
    clip: ClipConfig
    image_size: int = Field(gt=0, description="side in pixels to which sources are fitted")
    fit: FitName = Field(default="crop", description="how sources are fitted to it")
    colour: ColourName = Field(default="srgb", description="whether profiles in files count")
    class_names: dict[int, str] = Field(min_length=1, description="label -> class name, of the whole dataset")
    seed: int = Field(description="seed of the run")
    config_hash: str = Field(description="hash of the settings that pixels and scores depend on, kept in every record")
    pixels_hash: str = Field(description="hash of the settings that pixels depend on, kept in every report")
    known_as: Identities = Field(
        default={},
        description="section -> name and revision of its model in the plan; its folder may lie elsewhere now",
    )

    def known_clip(self) -> ClipConfig:
        """Return `clip` as the plan has it, which may be without a revision."""
        known = self.known_as.get("clip")
        return self.clip.model_copy(update={"revision": "", **known}) if known else self.clip

    def known_segmentation(self) -> SegmentationConfig | None:
        """Return `segmentation` as the plan has it."""
        return self.segmentation and self.segmentation.model_copy(update=self.known_as.get("segmentation", {}))


class WorkerConfig(BatchConfig):
    """All settings of a worker, sent to it once."""

    output: str = Field(description="the run's output folder or URL, reachable from every worker")
    batch_size: int = Field(gt=0, description="source images inverted together")
    workers_per_gpu: int = Field(default=1, gt=0, description="that share the memory of a GPU")
    remember_batch_size: bool = Field(
        default=False, description="begin with what had memory on a device of this kind before, and note what has"
    )
    max_edits_at_once: int | None = Field(default=None, gt=0, description="edits sampled together; None: all")
    threads: int = Field(gt=0, description="CPU threads of torch; runs with other numbers may differ in the last bit")
    filters: FilterConfig = Field(
        default=FilterConfig(), description="thresholds for the progress only; publishing applies those of its time"
    )

    def known_fields(self) -> dict[str, Any]:
        """Return the fields of an `EditRecord` that every edit of the run has, failed ones included."""
        model = {"name": self.model.name, "revision": self.model.revision} | self.known_as.get("model", {})
        return {"seed": self.seed, "model_id": model["name"], "model_revision": model["revision"]}

    @property
    def device(self) -> str:
        """Return the device that a worker needs: `cpu` or `cuda...`."""
        return self.model.device


def batch_fields(config: ExpandConfig, class_names: Mapping[int, str]) -> dict[str, Any]:
    """Return the fields of a `BatchConfig` that are settings of the job, or of its dataset: all but the hashes."""
    of_job = {name: getattr(config, name) for name in ("model", "editing", "segmentation", "clip", "seed")}
    of_input = {name: getattr(config.input, name) for name in ("image_size", "colour", "fit")}
    return {**of_job, **of_input, "class_names": class_names}


def worker_config(config: ExpandConfig, plan: Plan) -> WorkerConfig:
    """Return the settings of the job's workers."""
    fields = batch_fields(config, plan.class_names)
    if config.model.device != "cpu" and not in_one_process(config.run, config.model.device):
        fields["model"] = config.model.model_copy(update={"device": "cuda"})  # a worker sees one GPU only
    return WorkerConfig(
        **fields,
        config_hash=plan.config_hash,
        pixels_hash=plan.pixels_hash,
        known_as=identities(plan.fingerprint),
        output=output_url(config),
        batch_size=config.run.first_batch_size(config.model.device),
        workers_per_gpu=1 if in_one_process(config.run, config.model.device) else config.run.workers_per_gpu,
        remember_batch_size=config.run.batch_size == "auto",
        max_edits_at_once=config.run.max_edits_at_once,
        threads=config.run.threads_per_worker,
        filters=config.filters,
    )
