"""The progress of a run, read from its output folder only: during the run, after it was stopped, and at its end.

augment status out/demo
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from augment.dataset.generation import is_made_from, read_manifest
from augment.errors import OutputError
from augment.ledger.in_flight import DEATHS_ALONE
from augment.ledger.lease import holder
from augment.ledger.ledger import Ledger
from augment.report.progress import RunProgress, duration
from augment.storage.store import Store
from augment.types import EditStatus


@dataclass(frozen=True)
class RunStatus:
    """The progress of a run.

    Attributes:
        out: path or URL of the output folder.
        state: `running`; `interrupted`: not all units are done and no driver is running; `failed`: it ended with
            an error or exceeded its budget; `finished`: every unit is done, and the published dataset is made of these.
        driver: process and machine of the driver, and when it was seen last; "" if none is running.
        units, units_done: number of units in the plan, and of those done; 0 before there is a plan.
        counts: of all units done, as `RunProgress.as_dict` gives them. The rate, the time left and the number of
            workers are those of the running driver, and (None, None, 0) if there is none.
        verdicts: `accepted`, `rejected` and `reasons` of the published dataset; None if there is none.
        heartbeat_seconds: seconds since the driver wrote its status last; None if it never did.
        quarantined: keys of inputs that kill workers.
    """

    out: str
    state: str
    driver: str
    units: int
    units_done: int
    counts: dict[str, Any]
    verdicts: dict[str, Any] | None
    heartbeat_seconds: float | None
    quarantined: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the content of `--json`."""
        return {
            "out": self.out,
            "state": self.state,
            "driver": self.driver,
            "heartbeat_seconds": self.heartbeat_seconds,
            "units": self.units,
            "units_done": self.units_done,
            **self.counts,
            "published": self.verdicts,
            "quarantined": list(self.quarantined),
        }

    def lines(self) -> list[str]:
        """Return lines for a person."""
        c = self.counts
        silent = self.heartbeat_seconds is None or self.state == "finished"
        seen = "" if silent else f", heard of {duration(self.heartbeat_seconds or 0.0)} ago"
        lines = [
            f"state           {self.state}{f' ({self.driver})' if self.driver else ''}{seen}",
            f"units           {self.units_done} of {self.units} done",
            f"edits           {c['done']} of {c['planned']} done = {c['edited']} made + {c['failed']} failed"
            + _details(c["failed_by_stage"]),
        ]
        if self.verdicts:
            kept = f"{self.verdicts['accepted']} accepted, {self.verdicts['rejected']} rejected"
            lines.append(f"published       {kept}{_details(self.verdicts['reasons'])}")
        else:
            lines.append(f"rejected        {sum(c['rejected_by_reason'].values())}{_details(c['rejected_by_reason'])}")
        if c["mean_vae_psnr"] is not None:
            psnr, bound = c["mean_reconstruction_psnr"], c["mean_vae_psnr"]
            lines.append(f"reconstruction  {psnr:.2f} dB mean PSNR; VAE alone, the bound: {bound:.2f} dB")
        if c["busy_share"] is not None:
            lines.append(f"models          at work {c['busy_share']:.1%} of the workers' time, loading left out")
        if self.state == "running":
            rate, eta = c["edits_per_second"], c["eta_seconds"]
            speed = "not known yet" if rate is None else f"{rate:.3g} edits/s"
            left = "" if eta is None else f", {duration(eta)} left"
            lines.append(f"speed           {speed}, {c['workers']} workers{left}")
        if self.quarantined:
            lines.append(f"quarantined     {', '.join(self.quarantined)}")
        return lines


def status(out: Path | str) -> RunStatus:
    """Return the progress of the run in an output folder. Takes no lock and writes nothing: the folder may be in use.

    Raises:
        OutputError: if the folder is no output of this job, or its plan is not readable.
    """
    ledger = Ledger(out)
    store = ledger.store
    said = _read_json(store, "run/status.json")
    driver, plan = holder(store), ledger.read_plan()
    if plan is None and not driver:
        raise OutputError(f"{out} has no plan/plan.json: it is no output folder of `augment expand`.")
    reports = ledger.committed()  # units of plans that were replaced are not counted
    done = [reports[unit_id] for unit_id in (plan.unit_ids if plan else ()) if unit_id in reports]
    units = plan.units if plan else 0
    manifest = read_manifest(store) if plan else None
    published = manifest if plan and manifest and is_made_from(manifest, plan, done) else None
    if driver:
        state = "running"
    elif published:
        state = "finished"
    else:
        state = "failed" if said.get("state") == "failed" else "interrupted"
    counts = RunProgress(plan.planned if plan else 0, done).as_dict()
    if driver:
        counts |= {name: said.get(name, counts[name]) for name in ("edits_per_second", "eta_seconds", "workers")}
    deaths = _read_json(store, "run/suspects.json")
    return RunStatus(
        out=store.url,
        state=state,
        driver=driver,
        units=units,
        units_done=len(done),
        counts=counts,
        verdicts={n: published[n] for n in (EditStatus.ACCEPTED, EditStatus.REJECTED, "reasons")}
        if published
        else None,
        heartbeat_seconds=max(0.0, time.time() - said["time"]) if "time" in said else None,
        quarantined=tuple(sorted(key for key, count in deaths.items() if count >= DEATHS_ALONE)),
    )


def _read_json(store: Store, name: str) -> dict[str, Any]:
    """Return the content of a JSON file that a run writes; empty if there is none yet, or it is no JSON object."""
    try:
        content = json.loads(store.read(name))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _details(counts: dict[str, int]) -> str:
    text = ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])))
    return f" ({text})" if text else ""
