"""Every fault is made to happen: packages that are not there, folders that cannot be written, ports that are closed."""

from __future__ import annotations

import http.server
import json
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
import pytest
import torch
from huggingface_hub import constants

from augment.doctor import (
    Check,
    CheckStatus,
    Diagnosis,
    diagnose,
    lines,
    machine,
    services,
    software,
)
from augment.doctor.check import Finding, Probe
from augment.storage.local_store import LocalStore

NO_FOLDER = Path("/proc/augment")  # nobody can make files there, root neither


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_TMPDIR"):
        monkeypatch.delenv(name, raising=False)


def install(folder: Path, name: str, version: str, *more: str) -> None:
    """The metadata of an installed package, as pip leaves them."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("\n".join(["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *more]))


def test_a_healthy_machine_has_no_problem_and_nothing_is_left_behind(tmp_path: Path) -> None:
    diagnosis = diagnose(str(tmp_path / "new" / "out"))
    assert [check for check in diagnosis.checks if check.status is CheckStatus.PROBLEM] == []
    assert diagnosis.ok
    assert [check.name for check in diagnosis.checks] == [
        *("python", "packages", "known problems", "torch", "gpu", "cpus", "memory", "disk", "temporary folder"),
        *("shared memory", "model cache", "ray token", "ray address", "output"),
    ]
    assert all(bool(check.advice) == (check.status is not CheckStatus.OK) for check in diagnosis.checks)
    assert list(tmp_path.iterdir()) == []


def test_what_is_said_and_what_is_json() -> None:
    diagnosis = Diagnosis(
        (
            Check("cpus", CheckStatus.OK, "2"),
            Check("memory", CheckStatus.WARNING, "1.0 GiB free", "fewer workers"),
            Check("output", CheckStatus.PROBLEM, "OSError: no space", "delete something"),
        )
    )
    assert lines(diagnosis) == [
        "ok       cpus              2",
        "warning  memory            1.0 GiB free",
        "                           -> fewer workers",
        "problem  output            OSError: no space",
        "                           -> delete something",
        "1 problems, 1 warnings, 1 ok",
    ]
    assert not diagnosis.ok
    as_json = json.loads(json.dumps(diagnosis.as_dict()))
    assert as_json["ok"] is False
    assert as_json["checks"][1] == {
        "name": "memory",
        "status": "warning",
        "found": "1.0 GiB free",
        "advice": "fewer workers",
    }


def test_a_check_that_raises_or_hangs_is_a_problem() -> None:
    def exits() -> Finding:
        sys.exit("a\nlibrary gave up")

    assert Probe("x", exits, "try again").make() == Check(
        "x", CheckStatus.PROBLEM, "SystemExit: a library gave up", "try again"
    )
    forever = threading.Event()
    hanging = Probe("x", lambda: Finding(CheckStatus.OK, str(forever.wait())), "try again", seconds=0.05)
    assert hanging.make() == Check("x", CheckStatus.PROBLEM, "no answer within 0.05 s", "try again")
    forever.set()


# --- Software --------------------------------------------------------------------------------------------------------


def test_another_python_is_a_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(tmp_path, "rnri-augment", "9", "Requires-Python: >=3.99")
    monkeypatch.syspath_prepend(tmp_path)
    assert software.python().status is CheckStatus.PROBLEM
    assert software.python().advice == "make an environment with Python >=3.99"


def test_packages_that_are_missing_or_do_not_fit_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(
        tmp_path,
        "rnri-augment",
        "9",
        "Requires-Dist: no-such-package>=1",
        "Requires-Dist: webdataset<2,>=1.0",
        "Requires-Dist: diffusers[training]>=0.40",
        'Requires-Dist: another-one; extra == "dev"',
        'Requires-Dist: winpty; sys_platform == "win32"',
    )
    install(tmp_path, "webdataset", "0.2.1")
    # What the packages we need, with the extras we need, need in turn; and what they use if it is there.
    install(tmp_path, "diffusers", "0.42.1", 'Requires-Dist: a-trainer; extra == "training"')
    install(tmp_path, "xformers", "0.0.1", "Requires-Dist: torch==1.0")
    monkeypatch.syspath_prepend(tmp_path)
    assert software.packages() == Finding(
        CheckStatus.PROBLEM,
        "no-such-package is missing, needed no-such-package>=1; webdataset 0.2.1, needed webdataset<2,>=1.0; "
        f"a-trainer is missing, needed a-trainer; torch {torch.__version__.partition('+')[0]}, needed torch==1.0",
        "pip install 'no-such-package>=1' 'webdataset<2,>=1.0' 'a-trainer' 'torch==1.0'",
    )


def test_a_package_that_is_not_installed_is_a_problem_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software, "DISTRIBUTION", "no-such-package")
    diagnosis = diagnose()
    assert not diagnosis.ok
    assert diagnosis.checks[0].found == "PackageNotFoundError: No package metadata was found for no-such-package"


def test_a_pair_known_to_be_broken_is_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(tmp_path / "bad", "torchmetrics", "1.9.0")
    install(tmp_path / "bad", "transformers", "5.23.0")
    install(tmp_path / "good", "transformers", "4.57.0")
    monkeypatch.syspath_prepend(tmp_path / "bad")
    finding = software.known_problems()
    assert (finding.status, finding.found) == (CheckStatus.WARNING, "torchmetrics 1.9.0 with transformers 5.23.0")
    assert "CLIPScore" in finding.advice
    monkeypatch.syspath_prepend(tmp_path / "good")
    assert software.known_problems().status is CheckStatus.OK


def test_a_torchvision_for_another_torch_is_a_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    (check,) = (check for check in diagnose().checks if check.name == "torch")
    assert (check.status, check.found) == (
        CheckStatus.PROBLEM,
        "RuntimeError: operator torchvision::nms does not exist",
    )
    assert "pip install --force-reinstall torch torchvision" in check.advice


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch must not find the GPU that the driver finds")
def test_a_gpu_that_torch_cannot_use_is_a_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert software.gpu() == Finding(CheckStatus.OK, "none: runs on the CPU")
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 470.10\necho 470.10\n")
    program.chmod(0o755)
    assert software.gpu().status is CheckStatus.PROBLEM
    assert software.gpu().found.startswith("driver 470.10, but torch ")
    program.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'\nexit 9\n")
    assert software.gpu() == Finding(CheckStatus.OK, "none: runs on the CPU")


@pytest.mark.gpu
def test_a_gpu_is_described() -> None:
    finding = software.gpu()
    assert finding.status is CheckStatus.OK
    assert torch.cuda.get_device_name(0) in finding.found
    assert f"CUDA {torch.version.cuda}" in finding.found
    assert "driver ," not in finding.found


# --- Machine ---------------------------------------------------------------------------------------------------------


def test_the_limits_of_a_container_are_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert machine.cpus() == Finding(CheckStatus.OK, "64")
    for name, content in (("cpu.max", "250000 100000"), ("memory.max", f"{3 * 2**29}"), ("memory.current", f"{2**30}")):
        (tmp_path / name).write_text(content + "\n")
    assert machine.cpus().status is machine.memory().status is CheckStatus.WARNING
    assert machine.cpus().found == "2 of the machine's 64"
    assert machine.memory().found == "0.5 GiB free"
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.cpus() == Finding(CheckStatus.OK, "64")
    assert machine.memory().found != "0.5 GiB free"


def test_full_disks_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_SHARED_MEMORY", Path("/proc"))  # its size is 0
    assert machine.shared_memory().status is CheckStatus.WARNING
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


# --- Services --------------------------------------------------------------------------------------------------------


def test_the_model_cache_is_described(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    blobs = tmp_path / "models--owner--name" / "blobs"
    blobs.mkdir(parents=True)
    with (blobs / "0123").open("wb") as file:
        file.truncate(3 * 2**29)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert services.model_cache() == Finding(CheckStatus.OK, f"{tmp_path}: 1 models, 1.5 GiB; writable")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(NO_FOLDER))
    assert services.model_cache().status is CheckStatus.WARNING
    assert services.model_cache().found == f"{NO_FOLDER}: 0 models, 0.0 GiB; read-only"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert services.model_cache() == Finding(CheckStatus.OK, f"{NO_FOLDER}: 0 models, 0.0 GiB; read-only, offline")


def test_rays_token_needs_a_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    token = tmp_path / ".ray" / "auth_token"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert services.ray_token() == Finding(CheckStatus.OK, f"{token} will be made")
    assert list(tmp_path.iterdir()) == []
    token.parent.mkdir()
    token.touch()
    assert services.ray_token() == Finding(CheckStatus.OK, str(token))
    monkeypatch.setenv("HOME", str(NO_FOLDER))
    assert services.ray_token().status is CheckStatus.PROBLEM
    assert services.ray_token().found == "none, and /proc/augment/.ray/auth_token cannot be made"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "nowhere"))
    assert services.ray_token().found == f"RAY_AUTH_TOKEN_PATH: no file {tmp_path / 'nowhere'}"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    assert services.ray_token() == Finding(CheckStatus.OK, "from RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert services.ray_token().status is CheckStatus.OK


@contextmanager
def answering() -> Iterator[int]:
    """The port of an HTTP server on this machine; closed afterwards."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_error(403)

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        yield server.server_port
        server.shutdown()


def test_a_ray_that_does_not_answer_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    probe = Probe("ray address", services.ray_address, "unset RAY_ADDRESS")
    with answering() as port:
        for address in (f"127.0.0.1:{port}", f"http://127.0.0.1:{port}", f"ray://127.0.0.1:{port}"):
            monkeypatch.setenv("RAY_ADDRESS", address)
            assert probe.make().status is CheckStatus.OK
    check = probe.make()
    assert (check.status, check.advice) == (CheckStatus.PROBLEM, "unset RAY_ADDRESS")
    assert check.found.startswith(f"OSError: RAY_ADDRESS=ray://127.0.0.1:{port} does not answer: ")
    monkeypatch.setenv("RAY_ADDRESS", "head-node")
    assert probe.make() == Check(
        "ray address", CheckStatus.PROBLEM, "RAY_ADDRESS=head-node has no host and port", "write it as host:6379"
    )
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    assert probe.make() == Check("ray address", CheckStatus.OK, "RAY_ADDRESS is auto")


def test_a_port_that_swallows_what_it_is_sent_does_not_hold_anybody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setenv("no_proxy", "*")
        check = Probe("hub", services.hub, "look at the network", seconds=0.1).make()
    assert check == Check("hub", CheckStatus.PROBLEM, "no answer within 0.1 s", "look at the network")


def test_the_hub_is_asked_only_if_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with answering() as port:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
        assert services.hub().status is CheckStatus.OK  # 403 is an answer
    check = diagnose(online=True).checks[-1]
    assert (check.name, check.status) == ("hub", CheckStatus.PROBLEM)


def test_an_output_that_cannot_be_written_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out in (str(tmp_path / "file" / "out"), str(NO_FOLDER), "http://127.0.0.1/out", "s3x://bucket/out"):
        check = diagnose(out).checks[-1]
        assert (check.name, check.status) == ("output", CheckStatus.PROBLEM)
        assert check.found.split(":")[0] in ("NotADirectoryError", "FileNotFoundError", "StoreError")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_object_store_is_tried_like_a_disk() -> None:
    finding = services.output("memory://doctor/out")
    assert finding.status is CheckStatus.OK
    assert fsspec.filesystem("memory").find("/doctor") == []


def test_a_store_that_lets_both_writers_succeed_is_a_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Careless(LocalStore):
        def create(self, name: str, data: bytes) -> bool:
            self.write(name, data)
            return True

    monkeypatch.setattr(services, "open_store", Careless)
    finding = services.output(str(tmp_path / "out"))
    assert finding.status is CheckStatus.PROBLEM
    assert "were answered [True, True], not [True, False]" in finding.found
