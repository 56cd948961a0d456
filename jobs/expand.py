"""The main job: a dataset and a config -> shards of edits. Plan -> parts -> finalize; each step can be run again.

augment expand configs/expand/emoji.yaml
"""

from __future__ import annotations

import dataclasses
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from augment.editing import EditConfig
from augment.models.load import ModelConfig
from pydantic import BaseModel, ConfigDict, Field

from augment.config import ConfigError, load_config, resolved_yaml
from augment.data.finalize import ShardLimits
from augment.data.finalize import finalize as publish
from augment.data.ledger import Ledger, OutputError, Plan, cut_units, flatten, relocate, sources_digest
from augment.data.readers import InputFormat, list_sources
from augment.distribute import RunConfig, run_local, run_ray
from augment.filters import FilterConfig, judge_edit
from augment.overview import CONTACT_SHEET, FILES, write_overview
from augment.prompts import PromptConfig, plan_source
from augment.scoring import ClipConfig
from augment.tiny.dataset import split_path
from augment.types import Source, Unit, UnitReport
from augment.worker import WorkerConfig

EMBEDDED = "embedded:"
PROGRESS_SECONDS = 5.0


class InputConfig(BaseModel):
    """Which images."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str | tuple[str, ...] = Field(
        description="a folder or tar(s), relative to the working directory; `embedded:train` is the split that ships"
    )
    format: InputFormat = Field(description="`imagefolder` or `webdataset`")
    image_size: int = Field(gt=0, description="side in pixels to which images are resized and cropped; the model's own")
    limit: int | None = Field(default=None, gt=0, description="only the first so many images, by key")


class OutputConfig(ShardLimits):
    """Where to, in which portions."""

    path: Path = Field(description="output folder, relative to the working directory; one per run")


class ExpandConfig(BaseModel):
    """`configs/expand/*.yaml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: InputConfig
    output: OutputConfig
    model: ModelConfig = ModelConfig()
    prompts: Path = Field(description="YAML file of prompts, relative to this file")
    variants_per_image: int = Field(default=4, gt=0, description="edits wanted of each image")
    editing: EditConfig = EditConfig()
    clip: ClipConfig = ClipConfig()
    filters: FilterConfig = FilterConfig()
    run: RunConfig = RunConfig()
    seed: int = Field(default=0, description="another seed, other prompts and other noise")


@dataclass(frozen=True)
class Summary:
    """How a run ended.

    Attributes:
        manifest: the content of `manifest.json`.
        edits_made, seconds: edits of this run, and the time they took with start and end of the workers; 0 if nothing
            was left to do.
    """

    out: Path
    manifest: dict[str, Any]
    edits_made: int
    seconds: float

    def lines(self) -> list[str]:
        """What to tell a person, most important last."""
        m = self.manifest
        shards = [str(self.out / name) for name in m["files"] if name.startswith("shards/") and name.endswith(".tar")]
        more = f" and {len(shards) - 3} more" if len(shards) > 3 else ""
        parts = " + ".join(f"{m[name]} {name}" for name in ("accepted", "rejected", "failed"))
        psnr, bound = m["mean_reconstruction_psnr"], m["mean_vae_psnr"]
        rate = f"{self.edits_made / self.seconds:.2f} edits/s" if self.edits_made else "nothing was left to do"
        return [
            f"shards          {', '.join(shards[:3]) or 'none'}{more}",
            f"edits           {m['planned']} planned = {parts}",
            f"reconstruction  {psnr:.2f} dB mean PSNR; VAE alone, the bound: {bound:.2f} dB",
            f"speed           {rate}",
            f"contact sheet   {self.out / CONTACT_SHEET}",
        ]


def load_expand_config(path: Path | str, overrides: Sequence[str] = ()) -> ExpandConfig:
    """Read a config; its `prompts` becomes an absolute path. Raises ConfigError."""
    config = load_config(path, ExpandConfig, overrides)
    return config.model_copy(update={"prompts": (Path(path).parent / config.prompts).absolute()})


def expand(config: ExpandConfig, report: Callable[[str], None] = print) -> Summary:
    """Do whatever is left to do: plan, edit, publish. Run it again after an interruption and it goes on.

    Args:
        config: with `prompts` absolute or relative to the working directory.
        report: gets a line of progress now and then.

    Raises:
        ConfigError, InputError, PromptError, OutputError: if the config, the input or the output cannot be used; raised
            before any worker starts.
        Interrupted: on SIGTERM or SIGINT, with all finished units kept.
    """
    prompts = load_config(config.prompts, PromptConfig)
    sources = _sources(config)
    class_names = {s.label: s.class_name for s in sources}
    fingerprint = _fingerprint(config, prompts, sources)
    ledger = Ledger(config.output.path)
    _check_places(config, sources)
    with ledger.lock():
        plan = ledger.read_plan()
        if plan is None:
            planned = (plan_source(s, prompts, config.variants_per_image, config.seed) for s in sources)
            plan = ledger.write_plan(fingerprint, cut_units(planned, config.run.unit_size), class_names)
        ledger.check_fingerprint(plan, fingerprint)
        ledger.write_run_file("config.resolved.yaml", resolved_yaml(config))
        locators = {s.key: s.locator for s in sources}
        done = ledger.recover()
        began = time.monotonic()
        made = 0
        if len(done) < plan.units:
            ledger.write_run_file("env.json", _environment())
            pending = (relocate(unit, locators) for unit in ledger.units() if unit.unit_id not in done)
            for unit_report in _run(config, plan, pending, sum(r.planned for r in done.values()), report):
                ledger.log_event("unit", dataclasses.asdict(unit_report))
                made += unit_report.edited
        seconds = time.monotonic() - began
        manifest = _publish(ledger, config, locators)
    return Summary(config.output.path, manifest, made, seconds if made else 0.0)


def finalize(out: Path | str, overrides: Sequence[str] = (), config_path: Path | str | None = None) -> Summary:
    """Publish an output folder again under other thresholds or shard limits. Needs no model and no sources.

    Args:
        overrides: `filters.min_label_probability=0.8`, `output.max_shard_samples=500`, ...
        config_path: take `filters` and the shard limits from this config instead of the run's own.

    Raises:
        ConfigError: if something else is overridden. OutputError: if the folder is not finished.
    """
    out = Path(out)
    own = out / "run" / "config.resolved.yaml"
    if not own.is_file():
        raise OutputError(f"{out} has no run/config.resolved.yaml: it is no output folder of `augment expand`.")
    before = load_config(own, ExpandConfig)
    config = load_config(config_path or own, ExpandConfig, overrides)
    if foreign := [o for o in overrides if not o.startswith(("filters.", "output.max_", "filters="))]:
        raise ConfigError(
            "the overrides",
            [f"-o {o}: finalize changes filters.* and output.max_* only; all else needs `expand`" for o in foreign],
        )
    limits = config.output.model_copy(update={"path": out})
    config = before.model_copy(update={"filters": config.filters, "output": limits})
    ledger = Ledger(out)
    with ledger.lock():
        manifest = _publish(ledger, config, None)
        ledger.write_run_file("config.resolved.yaml", resolved_yaml(config))
    return Summary(out, manifest, 0, 0.0)


def _sources(config: ExpandConfig) -> list[Source]:
    path = config.input.path
    if isinstance(path, str):
        # Absolute, because workers may have another working directory.
        split = path.removeprefix(EMBEDDED)
        located: str | list[str] = str(split_path(split) if split != path else Path(path).absolute())
    else:
        located = [str(Path(p).absolute()) for p in path]
    return list_sources(located, config.input.format)[: config.input.limit]


def _check_places(config: ExpandConfig, sources: Sequence[Source]) -> None:
    """An output inside the input would be read as data by the next run."""
    out = config.output.path.absolute().resolve()
    for path in [config.input.path] if isinstance(config.input.path, str) else config.input.path:
        if Path(path).is_dir() and out.is_relative_to(Path(path).absolute().resolve()):
            raise OutputError(
                f"output.path: {config.output.path} lies inside input.path {path}; the next run would take its "
                "files for images. Choose a folder elsewhere."
            )


def _fingerprint(config: ExpandConfig, prompts: PromptConfig, sources: Sequence[Source]) -> dict[str, Any]:
    """Dotted key -> value of everything that changes pixels, scores or the cut into units."""
    return flatten(
        {
            "input": {
                "count": len(sources),
                "listing": sources_digest(sources),
                "image_size": config.input.image_size,
            },
            # Where the model runs is a matter of place; what it is, is not.
            "model": config.model.model_dump(mode="json", exclude={"device"}),
            "prompts": prompts.model_dump(mode="json"),
            "variants_per_image": config.variants_per_image,
            "editing": config.editing.model_dump(mode="json"),
            "clip": config.clip.model_dump(mode="json"),
            "run": {"unit_size": config.run.unit_size},
            "seed": config.seed,
        }
    )


def _run(
    config: ExpandConfig, plan: Plan, units: Iterable[Unit], planned_before: int, report: Callable[[str], None]
) -> Iterator[UnitReport]:
    worker = WorkerConfig(
        model=config.model,
        editing=config.editing,
        clip=config.clip,
        image_size=config.input.image_size,
        class_names=plan.class_names,
        seed=config.seed,
        config_hash=plan.digest,
        output=config.output.path.absolute(),
        batch_size=config.run.batch_size,
        threads=config.run.threads_per_worker,
    )
    runner = run_ray if config.run.executor == "ray" else run_local
    done, edited, began, told = planned_before, 0, time.monotonic(), time.monotonic()
    report(f"{plan.planned - done} of {plan.planned} edits to make, {plan.sources} images, {config.run.executor}")
    # Closed explicitly: a signal may strike here, outside of the runner, and its workers must not outlive that.
    with closing(runner(worker, units, config.run)) as reports:
        for unit_report in reports:
            done, edited, now = done + unit_report.planned, edited + unit_report.edited, time.monotonic()
            if now - told > PROGRESS_SECONDS or done == plan.planned:
                report(f"{done}/{plan.planned} edits, {edited / (now - began):.2f} edits/s")
                told = now
            yield unit_report


def _publish(ledger: Ledger, config: ExpandConfig, locators: dict[str, str] | None) -> dict[str, Any]:
    result = publish(
        ledger,
        judge=partial(judge_edit, config=config.filters),
        judge_settings=config.filters.model_dump(mode="json"),
        limits=ShardLimits(**config.output.model_dump(exclude={"path"})),
        derived=FILES,
    )
    if result.changed or not all((ledger.out / name).is_file() for name in FILES):
        write_overview(ledger, result.manifest, locators)
    return result.manifest


def _environment() -> dict[str, Any]:
    packages = ("torch", "diffusers", "transformers", "ray", "webdataset", "pillow", "numpy", "pyarrow")
    return {
        "python": platform.python_version(),
        "machine": platform.platform(),
        "packages": {name: version(name) for name in packages},
    }
