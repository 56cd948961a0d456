"""The memory that is left in a container: pages of files that are given up when a program needs memory are free."""

from __future__ import annotations

from pathlib import Path

import pytest

from augment.doctor import CheckStatus, machine
from augment.doctor.check import GIB, Finding


@pytest.fixture(autouse=True)
def large_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    read = Path.read_text
    monkeypatch.setattr(
        Path, "read_text", lambda p, *a: f"MemAvailable: {2**30} kB\n" if str(p) == "/proc/meminfo" else read(p, *a)
    )


def test_pages_of_files_are_no_use_of_memory_in_version_2(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text(f"{16 * GIB}\n")
    (tmp_path / "memory.current").write_text(f"{15 * GIB}\n")
    assert machine.memory(tmp_path).found == "1.0 GiB free"
    (tmp_path / "memory.stat").write_text(f"anon {GIB}\nfile {14 * GIB}\ninactive_file {13 * GIB}\nactive_file 5\n")
    assert machine.memory(tmp_path) == Finding(CheckStatus.OK, "14.0 GiB free")


def test_and_in_version_1(tmp_path: Path) -> None:
    folder = tmp_path / "memory"
    folder.mkdir()
    (folder / "memory.limit_in_bytes").write_text(f"{8 * GIB}\n")
    (folder / "memory.usage_in_bytes").write_text(f"{7 * GIB}\n")
    (folder / "memory.stat").write_text(f"inactive_file 1\ntotal_inactive_file {2 * GIB}\n")
    assert machine.memory(tmp_path).found == "3.0 GiB free"


def test_more_pages_than_use_do_not_exceed_the_limit(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text(f"{16 * GIB}\n")
    (tmp_path / "memory.current").write_text(f"{GIB}\n")
    (tmp_path / "memory.stat").write_text(f"inactive_file {2 * GIB}\n")
    assert machine.memory(tmp_path).found == "16.0 GiB free"
