"""Is this machine fit for a run? Versions, GPU, memory, disks, caches, Ray, and the output's store.

Nothing is repaired or kept: each check looks, and says what it found and what to do. A check that fails or hangs is a
problem of its own. Takes seconds; most of them are the import of torch.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from augment.doctor import machine, services, software
from augment.doctor.check import Check, CheckStatus, Probe

__all__ = ["Check", "CheckStatus", "Diagnosis", "diagnose", "lines"]


@dataclass(frozen=True)
class Diagnosis:
    """All checks, in the order in which they were made."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Return whether there is no problem; warnings are for a person to judge."""
        return all(check.status is not CheckStatus.PROBLEM for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        """Return the diagnosis for `--json`."""
        return {"ok": self.ok, "checks": [asdict(check) for check in self.checks]}


def diagnose(out: str | None = None, online: bool = False) -> Diagnosis:
    """Make every check of this machine and return what was found.

    Args:
        out: an output folder, a path or a URL, to be tried with a small file that is removed again.
        online: also ask whether the Hugging Face hub answers.
    """
    pip = f"install it with pip: pip install {software.DISTRIBUTION}"
    folder = Path(out) if out is not None and "://" not in out else Path()
    probes = [
        Probe("python", software.python, pip),
        Probe("packages", software.packages, pip),
        Probe("known problems", software.known_problems, pip),
        # A cold import from a network disk can take a minute.
        Probe("torch", software.torch_pair, f"install both from one place: {software.REINSTALL_TORCH}", 120.0),
        Probe(
            "gpu", software.gpu, "if `nvidia-smi` hangs or fails too, restart the driver or leave this machine", 60.0
        ),
        Probe("cpus", machine.cpus, "look at /sys/fs/cgroup"),
        Probe("memory", machine.memory, "look at /proc/meminfo and /sys/fs/cgroup"),
        Probe("disk", lambda: machine.disk(folder), "choose another output folder, or mount this one again"),
        Probe("temporary folder", machine.temporary, "set TMPDIR to a folder that exists and is writable"),
        Probe("shared memory", machine.shared_memory, "mount a tmpfs there"),
        Probe("open files", machine.open_files, "look at `ulimit -n`"),
        Probe("model cache", services.model_cache, "set HF_HOME to a folder that exists and is writable"),
        Probe("ray token", services.ray_token, "set HOME to a folder that exists and is writable"),
        Probe("ray address", services.ray_address, "unset RAY_ADDRESS, or start the cluster that it names"),
    ]
    if out is not None:
        advice = "make it writable, or choose another; object stores take keys and endpoint from AWS_* and the like"
        probes.append(Probe("output", lambda: services.output(out), advice, 30.0))
    if online:
        advice = "look at the network and HTTPS_PROXY, or bring the models along and set HF_HUB_OFFLINE=1"
        probes.append(Probe("hub", services.hub, advice))
    return Diagnosis(tuple(probe.make() for probe in probes))


def lines(diagnosis: Diagnosis) -> list[str]:
    """Return the diagnosis as lines for people."""
    text = []
    for check in diagnosis.checks:
        text.append(f"{check.status:8} {check.name:17} {check.found}")
        if check.advice:
            text.append(f"{'':26} -> {check.advice}")
    count = {status: sum(check.status is status for check in diagnosis.checks) for status in CheckStatus}
    text.append(
        f"{count[CheckStatus.PROBLEM]} problems, {count[CheckStatus.WARNING]} warnings, {count[CheckStatus.OK]} ok"
    )
    return text
