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

from augment.config import ConfigError, load_config, resolved_yaml
from augment.data.finalize import ShardLimits
from augment.data.finalize import finalize as publish
from augment.data.ledger import Ledger, OutputError
from augment.data.plan import Plan, cut_units, fingerprint_difference, relocate
from augment.distribute import run_local, run_ray
from augment.filters import judge_edit
from augment.job import ExpandConfig, fingerprint, job_sources, load_expand_config, worker_config
from augment.models.config import pinned
from augment.overview import CONTACT_SHEET, FILES, write_overview
from augment.prompts import PromptConfig, plan_source, unused_classes
from augment.types import Unit, UnitReport

__all__ = ["ExpandConfig", "Summary", "expand", "finalize", "load_expand_config"]

PROGRESS_SECONDS = 5.0


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
        """What to tell a person."""
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
    # Once, here: no two workers and no later run may get other weights under the same name.
    config = config.model_copy(update={"model": pinned(config.model)})
    prompts = load_config(config.prompts, PromptConfig)
    sources, class_names = job_sources(config)
    if unused := unused_classes(prompts, class_names.values()):
        known = ", ".join(sorted(class_names.values())[:20]) + (", ..." if len(class_names) > 20 else "")
        reason = f"is no class of the dataset, but overrides or exclude name it; known are {known}"
        raise ConfigError(str(config.prompts), [f"class {name!r} {reason}" for name in unused])
    settings = fingerprint(config, prompts, sources, class_names)
    ledger = Ledger(config.output.path)
    with ledger.lock():
        plan = ledger.read_plan()
        done = ledger.recover(plan) if plan else {}
        if plan is None or (not done and fingerprint_difference(plan.fingerprint, settings)):
            planned = (plan_source(s, prompts, config.variants_per_image, config.seed) for s in sources)
            plan = ledger.write_plan(settings, cut_units(planned, config.run.unit_size), class_names)
        ledger.check_fingerprint(plan, settings)
        ledger.write_run_file("config.resolved.yaml", resolved_yaml(config))
        locators = {s.key: s.locator for s in sources}
        began, made = time.monotonic(), 0
        if len(done) < plan.units:
            ledger.write_run_file("env.json", _environment())
            pending = (relocate(unit, locators) for unit in ledger.units() if unit.unit_id not in done)
            for unit_report in _run(config, plan, pending, sum(r.planned for r in done.values()), report):
                ledger.log_event("unit", dataclasses.asdict(unit_report))
                made += unit_report.edited
        seconds = time.monotonic() - began
        manifest = _publish(ledger, config, locators)
    return Summary(config.output.path, manifest, made, seconds)


def finalize(out: Path | str, overrides: Sequence[str] = (), config_path: Path | str | None = None) -> Summary:
    """Publish an output folder again, under other thresholds or shard limits, or because a published file is damaged.

    Needs no model and no sources.

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
    if foreign := [o for o in overrides if not o.startswith(("filters.", "filters=", "output.max_"))]:
        reason = "finalize changes filters.* and output.max_* only; all else needs `augment expand`"
        raise ConfigError("the overrides", [f"-o {o}: {reason}" for o in foreign])
    changed = load_config(config_path or own, ExpandConfig, overrides)
    limits = changed.output.model_copy(update={"path": out})
    config = load_config(own, ExpandConfig).model_copy(update={"filters": changed.filters, "output": limits})
    ledger = Ledger(out)
    with ledger.lock():
        manifest = _publish(ledger, config, {}, check_hashes=True)
        ledger.write_run_file("config.resolved.yaml", resolved_yaml(config))
    return Summary(out, manifest, 0, 0.0)


def _run(
    config: ExpandConfig, plan: Plan, units: Iterable[Unit], planned_before: int, report: Callable[[str], None]
) -> Iterator[UnitReport]:
    runner = run_ray if config.run.executor == "ray" else run_local
    done, edited, began, told = planned_before, 0, time.monotonic(), time.monotonic()
    report(f"{plan.planned - done} of {plan.planned} edits to make, {plan.sources} images, {config.run.executor}")
    # Closed explicitly: a signal may strike here, outside of the runner, and its workers must not outlive that.
    with closing(runner(worker_config(config, plan), units, config.run)) as reports:
        for unit_report in reports:
            done, edited, now = done + unit_report.planned, edited + unit_report.edited, time.monotonic()
            if now - told > PROGRESS_SECONDS or done == plan.planned:
                report(f"{done}/{plan.planned} edits, {edited / (now - began):.2f} edits/s")
                told = now
            yield unit_report


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
