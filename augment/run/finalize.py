"""Publishing of an output folder: after a run, and again under other thresholds. Needs no model and no sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from augment.config import load_config, resolved_yaml
from augment.dataset.generation import read_manifest
from augment.dataset.overview import CONTACT_SHEET, FILES, overview
from augment.dataset.publish import Derived, publish
from augment.dataset.shards import ShardLimits
from augment.errors import ConfigError, OutputError
from augment.filters import judge_edit
from augment.ledger.ledger import Ledger
from augment.report.outcome import decibels
from augment.run.config import ExpandConfig
from augment.run.findings import Findings, filter_problems
from augment.types import UnitReport

RESOLVED = "run/config.resolved.yaml"


@dataclass(frozen=True)
class Summary:
    """The result of a run.

    Attributes:
        out: the output folder or URL.
        manifest: the content of `manifest.json`.
        edits_made: number of edits that this run made.
        seconds: that they took, with start and end of the workers.
        edits_failed: number of edits that failed in this run.
    """

    out: str
    manifest: dict[str, Any]
    edits_made: int
    seconds: float
    edits_failed: int = 0

    def lines(self) -> list[str]:
        """Return lines for a person."""
        m = self.manifest
        shards = [f"{self.out}/{name}" for name in m["files"] if name.startswith("shards/") and name.endswith(".tar")]
        more = f" and {len(shards) - 3} more" if len(shards) > 3 else ""
        parts = " + ".join(f"{m[name]} {name}" for name in ("accepted", "rejected", "failed"))
        psnr, bound = m["mean_reconstruction_psnr"], m["mean_vae_psnr"]
        quality = f"{decibels(psnr)} mean PSNR; VAE alone, the bound: {decibels(bound)}" if psnr is not None else "-"
        return [
            f"shards          {', '.join(shards[:3]) or 'none'}{more}",
            f"edits           {m['planned']} planned = {parts}",
            f"reconstruction  {quality}",
            f"speed           {self._speed()}",
            f"contact sheet   {self.out}/{CONTACT_SHEET}",
        ]

    def _speed(self) -> str:
        if self.edits_made:
            return f"{self.edits_made / self.seconds:.2f} edits/s"
        if self.edits_failed:
            return f"none was made, {self.edits_failed} failed"
        if failed := self.manifest["failed"]:
            return f"nothing was made; {failed} failed earlier, --retry-failed makes them again"
        return "nothing was left to do"


def finalize(out: Path | str, overrides: Sequence[str] = (), config_path: Path | str | None = None) -> Summary:
    """Publish an output folder again, under other thresholds or shard limits, or because a published file is damaged.

    Needs no model and no sources.

    Args:
        out: path or URL of the folder.
        overrides: `filters.min_label_probability=0.8`, `output.max_shard_samples=500`, ...
        config_path: take `filters` and the shard limits from this config instead of the run's own.

    Raises:
        ConfigError: if something else is overridden, or a threshold decides nothing on this dataset.
        OutputError: if the folder is not finished, or parts are missing. No commit and no part is ever removed.
    """
    ledger = Ledger(out)
    if foreign := [o for o in overrides if not o.startswith(("filters.", "filters=", "output.max_"))]:
        reason = "finalize changes filters.* and output.max_* only; all else needs `augment expand`"
        raise ConfigError("the overrides", [f"-o {o}: {reason}" for o in foreign])
    try:
        resolved = ledger.store.read(RESOLVED)
    except (FileNotFoundError, NotADirectoryError):
        raise OutputError(f"{out} has no {RESOLVED}: it is no output folder of `augment expand`.") from None
    with ledger.store.scratch() as folder:
        own = folder / "config.resolved.yaml"
        own.write_bytes(resolved)
        try:
            # Without its thresholds, which are replaced below: an earlier release may have let pass what is none now.
            config = load_config(own, ExpandConfig, ["filters={}"], resolved=True)
            changed = load_config(config_path or own, ExpandConfig, overrides, resolved=config_path is None)
        except ConfigError as error:
            known = ledger.store.at(RESOLVED)
            raise ConfigError(
                error.source.replace(str(own), known), [p.replace(str(own), known) for p in error.problems]
            ) from None
    limits = changed.output.model_copy(update={"path": ledger.store.url})
    config = config.model_copy(update={"filters": changed.filters, "output": limits})
    if plan := ledger.read_plan():
        Findings(tuple(filter_problems(config.filters, plan.class_names))).raise_any()
    with ledger.lock():
        manifest = publish_run(ledger, config, {}, ledger.finished(), check_hashes=True)
        ledger.staging.replace(RESOLVED, resolved_yaml(config).encode())
        ledger.staging.clear()
    return Summary(ledger.store.url, manifest, 0, 0.0)


def publish_run(
    ledger: Ledger,
    config: ExpandConfig,
    locators: dict[str, str],
    done: Mapping[str, UnitReport],
    check_hashes: bool = False,
) -> dict[str, Any]:
    """Publish what is committed, write the overview for people if anything has changed, and return the manifest.

    Args:
        ledger: of the folder; locked.
        config: with the thresholds and the shard limits.
        locators: source key -> where the source lies, for the pictures of the contact sheet.
        done: the reports of all finished units of the folder, by id.
        check_hashes: whether to read published files and compare their hashes.
    """
    return publish(
        ledger,
        judge=partial(judge_edit, config=config.filters),
        judge_settings=config.filters.model_dump(mode="json"),
        limits=ShardLimits(**config.output.model_dump(exclude={"path"})),
        derived=Derived(FILES, partial(overview, ledger, locators=locators)),
        check_hashes=check_hashes,
        done=done,
    ).manifest


def unpublished(ledger: Ledger, config: ExpandConfig) -> ExpandConfig:
    """Return what `RESOLVED` says of a run that has published nothing yet.

    The thresholds and the shard limits are those of the dataset that is still the published one, if there is any.
    """
    manifest = read_manifest(ledger.store)
    if manifest is None:
        return config
    filters = config.filters.model_copy(update=manifest["filters"])
    output = config.output.model_copy(update=manifest.get("limits", {}))  # earlier releases did not say
    return config.model_copy(update={"filters": filters, "output": output})
