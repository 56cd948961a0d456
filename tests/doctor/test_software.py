"""Packages that are not there, do not fit, or do not go together, and GPUs that torch cannot use."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from augment.doctor import (
    CheckStatus,
    diagnose,
    software,
)
from augment.doctor.check import Finding


def install(folder: Path, name: str, version: str, *more: str) -> None:
    """The metadata of an installed package, as pip leaves them."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("\n".join(["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *more]))


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
