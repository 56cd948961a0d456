"""A few edits before the whole run: a contact sheet to look at, and the speed that `augment plan` calculates with.

augment preview configs/expand/emoji.yaml -n 12
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from augment.dataset.overview import FILES
from augment.errors import OutputError
from augment.ledger.ledger import Ledger
from augment.report.outcome import counts, problems
from augment.run.config import ExpandConfig, output_url
from augment.run.estimate import (
    PREVIEW_FILE,
    PREVIEW_FOLDER,
    Measured,
    relevant_settings,
)
from augment.run.expand import expand
from augment.run.finalize import Summary
from augment.run.job_prompts import prompts_url
from augment.run.watch import Display, no_display
from augment.seeding import spread
from augment.types import Source

# What a run writes into its folder, besides run/.
_FOLDERS = ("plan", "parts", "commits", "shards", "rejected", "index")
_FILES = (PREVIEW_FILE, "manifest.json", "index.parquet", "README.md", *FILES)


@dataclass(frozen=True)
class Preview:
    """The result of a preview.

    Attributes:
        summary: of the run.
        measured: time and bytes per edit; None if every edit failed.
    """

    summary: Summary
    measured: Measured | None

    @property
    def problems(self) -> list[str]:
        """Return what is wrong with the edits, one sentence each."""
        return problems(self.summary.manifest, self.summary.out)

    def as_dict(self) -> dict[str, Any]:
        """Return the content of `--json`."""
        measured = self.measured.model_dump(mode="json", exclude={"settings"}) if self.measured else None
        about = {"measured": measured, "problems": self.problems}
        return {"out": self.summary.out, **counts(self.summary.manifest), **about}

    def lines(self) -> list[str]:
        """Return lines for a person."""
        m = self.measured
        if m is None:
            return [*self.summary.lines(), "measured        nothing: every edit failed"]
        cost = f"{m.seconds_per_edit:.3g} s per edit, {m.model_seconds_per_edit:.3g} of them in the model"
        return [*self.summary.lines(), f"measured        {cost}, after {m.setup_seconds:.1f} s of setup, on {m.device}"]


def preview(config: ExpandConfig, count: int = 12, display: Display = no_display) -> Preview:
    """Edit `count` images, spread over the classes, in this process, and publish them in `<output.path>/preview`.

    An earlier preview there is replaced.

    Args:
        config: of the whole run.
        count: number of images.
        display: shows the progress.

    Raises:
        ConfigError, InputError, PromptError, ModelError, OutputError: if the config, the input or the output cannot be
            used.
        Interrupted: on SIGTERM or SIGINT.
    """
    url = f"{output_url(config)}/{PREVIEW_FOLDER}"
    prompt_folder = prompts_url(config)
    output = config.output.model_copy(update={"path": url})
    # One worker with one unit at a time, so that stages can be added up; small units, so that progress shows soon. But
    # images of one bucket meet in a batch only if they are in one unit.
    unit_size = (
        config.run.unit_size if config.input.fit == "bucket" else config.run.first_batch_size(config.model.device)
    )
    run = config.run.model_copy(update={"executor": "local", "unit_size": unit_size})
    model = config.model.model_copy(update={"device": config.model.torch_device})
    whole = config
    here = {"output": output, "run": run, "model": model, "prompt_folder": prompt_folder}
    config = config.model_copy(update={**here, "reuse": ()})  # an edit that is taken over says nothing of the speed
    ledger = Ledger(url)
    _make_room(ledger)

    summary = expand(config, display=display, choose=lambda sources: over_classes(sources, count))
    measured = _measure(ledger, whole, summary)
    if measured:
        ledger.store.write(PREVIEW_FILE, (measured.model_dump_json(indent=2) + "\n").encode())
    return Preview(summary, measured)


def over_classes(sources: Sequence[Source], count: int) -> list[Source]:
    """Return `count` of the sources, spread over the classes as far as there are so many, in the order given."""
    by_class = sorted(sources, key=lambda source: (source.label, source.key))
    chosen = {source.key for source in spread(by_class, count, "preview")}
    return [source for source in sources if source.key in chosen]


def _make_room(ledger: Ledger) -> None:
    """Remove an earlier preview, and nothing else; write the file by which the next one recognises this one.

    Raises:
        OutputError: if the folder holds something that is no preview, or another preview is running.
    """
    store = ledger.store
    held = [name for name in _FILES if store.exists(name)] + [f"{name}/" for name in _FOLDERS if store.list(name)]
    if held and PREVIEW_FILE not in held:
        raise OutputError(
            f"{store} holds {', '.join(held)}, but no {PREVIEW_FILE}: it is no preview, and is left alone. Move it "
            "away, or choose another output.path."
        )
    with ledger.lock():
        store.write(PREVIEW_FILE, b'{"finished": false}\n')
        for folder in (*_FOLDERS, "run/in_flight"):
            store.clear(folder)
        kept = (PREVIEW_FILE, "run/lease-")
        store.remove(name for name in (*_FILES, *store.list("run")) if not name.startswith(kept))


def _measure(ledger: Ledger, whole: ExpandConfig, summary: Summary) -> Measured | None:
    """Return what the preview cost for a run of the whole; None if nothing was made."""
    reports, plan, store = list(ledger.committed().values()), ledger.read_plan(), ledger.store
    edits = sum(report.edited - report.kept for report in reports)
    assert plan is not None  # the run has ended
    if not edits:
        return None
    # Without `idle`, which is the time of the other stages, seen from the model.
    seconds = sum(value for report in reports for stage, value in report.seconds.items() if stage != "idle")
    published = [n for folder in ("shards", "rejected") for name, n in store.list(folder).items()]
    return Measured(
        images=plan.sources,
        edits=edits,
        seconds_per_edit=seconds / edits,
        model_seconds_per_edit=sum(report.seconds.get("model", 0.0) for report in reports) / edits,
        setup_seconds=max(0.0, summary.seconds - seconds),
        part_bytes_per_edit=sum(store.list("parts").values()) / edits,
        shard_bytes_per_edit=sum(published) / edits,
        device=_device_name(whole.model.torch_device),
        settings=relevant_settings(plan.fingerprint, whole),
    )


def _device_name(device: str) -> str:
    if not device.startswith("cuda"):
        return f"{device} ({platform.machine()})"
    return f"{device} ({torch.cuda.get_device_name(device)})"
