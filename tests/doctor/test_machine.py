"""Containers with limits, and disks that are full."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from augment.doctor import (
    CheckStatus,
    machine,
)
from augment.doctor.check import Finding, Probe

NO_FOLDER = Path("/proc/augment")  # nobody can make files there, root neither


def test_the_limits_of_a_container_are_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert machine.cpus(tmp_path) == Finding(CheckStatus.OK, "64")
    for name, content in (("cpu.max", "250000 100000"), ("memory.max", f"{3 * 2**29}"), ("memory.current", f"{2**30}")):
        (tmp_path / name).write_text(content + "\n")
    assert machine.cpus(tmp_path).status is machine.memory(tmp_path).status is CheckStatus.WARNING
    assert machine.cpus(tmp_path).found == "2 of the machine's 64"
    assert machine.memory(tmp_path).found == "0.5 GiB free"
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.cpus(tmp_path) == Finding(CheckStatus.OK, "64")
    assert machine.memory(tmp_path).found != "0.5 GiB free"


def test_full_disks_are_seen() -> None:
    assert machine.shared_memory(Path("/proc")).status is CheckStatus.WARNING  # its size is 0
    assert machine.disk(NO_FOLDER / "out") == Finding(
        CheckStatus.PROBLEM, "/proc: 0.0 GiB free", "delete something, or write to another disk"
    )


def test_a_temporary_folder_must_exist_and_be_short_enough_for_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    probe = Probe("temporary folder", machine.temporary, "set TMPDIR")
    monkeypatch.setenv("RAY_TMPDIR", "/" + 39 * "t")
    assert probe.make().found.endswith("40 characters, 39 fit")
    monkeypatch.setenv("RAY_TMPDIR", "/" + 38 * "t")
    assert probe.make().found.startswith("FileNotFoundError")
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    assert probe.make().found.startswith("/tmp: ")


def test_few_open_files_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = (1024, 1024)
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    assert machine.open_files() == Finding(
        CheckStatus.WARNING,
        "1024 at once",
        "Ray with many workers needs more: raise the hard limit of 1024 (nofile) to 65536",
    )
    limits = (1024, resource.RLIM_INFINITY)
    assert machine.open_files().advice == "Ray with many workers needs more: ulimit -n 65536"
    limits = (65536, 65536)
    assert machine.open_files() == Finding(CheckStatus.OK, "65536 at once")
    limits = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    assert machine.open_files() == Finding(CheckStatus.OK, "no limit")


def test_a_network_disk_is_told_from_a_local_one(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    lines = [
        ("/", "overlay overlay rw"),
        ("/home", "nfs4 server:/home rw"),
        ("/home/local\\040disk", "ext4 /dev/sda1 rw"),
        ("/scratch", "ext4 /dev/sdb1 rw"),
        ("/scratch", "lustre mgs:/fs rw"),  # over the one before
        ("/mnt/s3", "fuse.s3fs s3fs rw"),
    ]
    rows = [f"{i} 1 0:{i} / {point} rw,relatime shared:1 - {kind}\n" for i, (point, kind) in enumerate(lines)]
    mounts.write_text("".join(rows))
    places = ("/tmp/a", "/home/me/.cache", "/home", "/homes/me", "/home/local disk/x", "/scratch/x", "/mnt/s3/x")
    found = [machine.network_disk(Path(place), mounts) for place in places]
    assert found == ["", "nfs4", "nfs4", "", "", "lustre", "fuse.s3fs"]
