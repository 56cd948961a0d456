"""CPUs, memory and disks."""

from __future__ import annotations

import os
import re
import resource
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from augment.doctor.check import (
    GIB,
    CheckStatus,
    Finding,
    gib,
)

_OBJECT_STORE = 100 * 2**20  # bytes of shared memory that a Ray started by us asks for
_LONGEST_TEMPORARY = 39  # characters; below a longer folder, Ray's sockets have paths beyond the system's 107
_FILES_OF_RAY = 4096  # open files that a Ray of some workers needs; its own advice is 65536
_NETWORK_DISKS = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "lustre", "gpfs", "beegfs", "glusterfs", "9p", "afs")
MOUNTS = Path("/proc/self/mountinfo")
CGROUP = Path("/sys/fs/cgroup")
SHARED_MEMORY = Path("/dev/shm")
# Of the two versions of control groups: files with the limit and the use, and the line of memory.stat with those pages
# of files that are given up when a program needs memory. The use counts them.
_MEMORY_FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
)


def cpus(cgroup: Path = CGROUP) -> Finding:
    """Count the CPUs that this process may use: a container's quota is not what `os.cpu_count` says."""
    present, usable = os.cpu_count() or 1, len(os.sched_getaffinity(0))
    with suppress(FileNotFoundError):
        quota, period = (cgroup / "cpu.max").read_text().split()
        if quota != "max":
            usable = min(usable, max(1, int(quota) // int(period)))
    if usable < present:
        advice = (
            f"keep run.num_workers × run.threads_per_worker within {usable}, and start Ray with --num-cpus={usable}"
        )
        return Finding(CheckStatus.WARNING, f"{usable} of the machine's {present}", advice)
    return Finding(CheckStatus.OK, str(present))


def memory(cgroup: Path = CGROUP) -> Finding:
    """Measure the memory that is left, on the machine or in the container."""
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(fields["MemAvailable"].split()[0]) * 1024
    for limit, used, cache in _MEMORY_FILES:
        with suppress(FileNotFoundError, ValueError):  # the file may say `max`
            most, current = (int((cgroup / name).read_text()) for name in (limit, used))
            free = min(free, most - max(0, current - _cached((cgroup / limit).with_name("memory.stat"), cache)))
    if free < 4 * GIB:
        return Finding(CheckStatus.WARNING, f"{gib(free)} free", "the demo wants 4 GiB; fewer workers, smaller batches")
    return Finding(CheckStatus.OK, f"{gib(free)} free")


def _cached(statistics: Path, name: str) -> int:
    """Return a number of bytes in a file `memory.stat`; 0 if it is not there."""
    with suppress(FileNotFoundError):
        for line in statistics.read_text().splitlines():
            if line.startswith(f"{name} "):
                return int(line.split()[1])
    return 0


def disk(folder: Path) -> Finding:
    """Measure the room where the output goes."""
    return _room(existing(folder.absolute()), "delete something, or write to another disk")


def temporary() -> Finding:
    """Measure the room for temporary files, and check the path for Ray's sockets."""
    folder = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    if len(folder) > _LONGEST_TEMPORARY:
        found = f"{folder} is too long for the sockets of a Ray: {len(folder)} characters, {_LONGEST_TEMPORARY} fit"
        return Finding(CheckStatus.PROBLEM, found, "set RAY_TMPDIR to a shorter one, for example /tmp")
    with tempfile.TemporaryFile(dir=folder):
        return _room(Path(folder), "set TMPDIR to another disk: shards for an object store are built there")


def shared_memory(folder: Path = SHARED_MEMORY) -> Finding:
    """Measure the room for Ray's object store, although nothing of ours goes through it."""
    size = shutil.disk_usage(folder).total
    found = f"{folder}: {gib(size)}"
    if size < _OBJECT_STORE:
        return Finding(CheckStatus.WARNING, found, "Ray will use files instead; start the container with --shm-size=1g")
    return Finding(CheckStatus.OK, found)


def open_files() -> Finding:
    """Look at how many files a process may open: Ray holds sockets and files for every worker."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < _FILES_OF_RAY:  # -1 is no limit
        able = "ulimit -n 65536" if hard < 0 or hard >= 65536 else f"raise the hard limit of {hard} (nofile) to 65536"
        return Finding(CheckStatus.WARNING, f"{soft} at once", f"Ray with many workers needs more: {able}")
    return Finding(CheckStatus.OK, "no limit" if soft < 0 else f"{soft} at once")


def network_disk(path: Path, mounts: Path = MOUNTS) -> str:
    """Return the kind of file system of a path if it is one of another machine, such as `nfs4`; "" otherwise."""
    real = os.path.realpath(path)
    found, kind = "", ""
    for line in mounts.read_text().splitlines():
        fields, _, more = line.partition(" - ")
        # Spaces and the like are written as octal numbers.
        point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields.split()[4])
        if len(point) >= len(found) and (real + "/").startswith(point.rstrip("/") + "/"):
            found, kind = point, more.split()[0]  # the last of those mounted at one place is the one that is seen
    return kind if kind in _NETWORK_DISKS or (kind.startswith("fuse.") and "overlay" not in kind) else ""


def existing(path: Path) -> Path:
    """Return the path, or the nearest folder above it that exists."""
    return next(p for p in (path, *path.parents) if p.exists())


def writable(path: Path) -> bool:
    """Return whether files can be made in a folder, or on the way to it. Tried, because permissions do not tell."""
    try:
        with tempfile.TemporaryFile(dir=existing(path)):
            return True
    except OSError:
        return False


def _room(folder: Path, advice: str) -> Finding:
    free = shutil.disk_usage(folder).free
    status = CheckStatus.PROBLEM if free < GIB else CheckStatus.WARNING if free < 10 * GIB else CheckStatus.OK
    return Finding(status, f"{folder}: {gib(free)} free", "" if status is CheckStatus.OK else advice)
