"""Python, packages, torch and the GPU behind it."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
import warnings
from collections.abc import Collection, Iterator
from contextlib import suppress

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from augment.doctor.check import GIB, CheckStatus, Finding

DISTRIBUTION = "rnri-augment"
REINSTALL_TORCH = "pip install --force-reinstall torch torchvision"

# Not required by us, but used by diffusers and transformers wherever installed; some are compiled for one torch.
_PICKED_UP = ("accelerate", "bitsandbytes", "flash-attn", "peft", "torchao", "xformers")

# (what, together with what, advice): pairs that do not work though their own requirements allow them.
_KNOWN_BAD = (
    (
        Requirement("torchmetrics==1.9.0"),
        Requirement("transformers>=5"),
        "its CLIPScore raises with this transformers; augment's own scores do not use it",
    ),
)


def python() -> Finding:
    """Check that this Python is one that we support."""
    wanted = importlib.metadata.metadata(DISTRIBUTION)["Requires-Python"]
    found = f"{platform.python_version()}, {platform.platform()}"
    if not SpecifierSet(wanted).contains(platform.python_version(), prereleases=True):
        return Finding(CheckStatus.PROBLEM, found, f"make an environment with Python {wanted}")
    return Finding(CheckStatus.OK, found)


def packages() -> Finding:
    """Check our requirements, and those of what we require: pip breaks an older pair when it installs something."""
    ours = list(_requirements(DISTRIBUTION))
    picked_up = [Requirement(name) for name in _PICKED_UP]
    theirs = [needed for each in [*ours, *picked_up] for needed in _requirements(each.name, each.extras)]
    lacking: dict[str, str] = {}  # what pip is to install -> what is there
    for needed in [*ours, *theirs]:
        version = _version(needed.name)
        if version is None or not needed.specifier.contains(version, prereleases=True):
            lacking[f"'{needed.name}{needed.specifier}'"] = f"{needed.name} {version or 'is missing'}"
    if lacking:
        found = "; ".join(f"{there}, needed {wanted.strip(chr(39))}" for wanted, there in lacking.items())
        return Finding(CheckStatus.PROBLEM, found, f"pip install {' '.join(lacking)}")
    versions = (f"{name} {_version(name)}" for name in ("torch", "diffusers", "transformers", "ray"))
    return Finding(CheckStatus.OK, ", ".join(versions))


def known_problems() -> Finding:
    """Check for packages that are installed together and do not work together."""
    found = [(what, beside, advice) for what, beside, advice in _KNOWN_BAD if _holds(what) and _holds(beside)]
    if found:
        pairs = (f"{what.name} {_version(what.name)} with {b.name} {_version(b.name)}" for what, b, _ in found)
        return Finding(CheckStatus.WARNING, "; ".join(pairs), "; ".join(advice for _, _, advice in found))
    return Finding(CheckStatus.OK, "none installed")


def torch_pair() -> Finding:
    """Check that torch and torchvision import together: one with CUDA and one without do not, though versions fit."""
    import torch
    import torchvision

    return Finding(
        CheckStatus.OK, f"torch {torch.__version__} and torchvision {torchvision.__version__} import together"
    )


def gpu() -> Finding:
    """Check the GPUs as torch sees them; that the driver sees one and torch does not is a problem."""
    import torch

    driver = _driver()
    with warnings.catch_warnings(record=True) as said:  # torch says there why a GPU cannot be used
        warnings.simplefilter("always")
        usable = torch.cuda.is_available()
    if usable:
        cards = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        names = ", ".join(f"{card.name} ({card.total_memory / GIB:.0f} GiB)" for card in cards)
        bf16 = "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no bfloat16: use float16"
        return Finding(CheckStatus.OK, f"{len(cards)}: {names}; driver {driver}, CUDA {torch.version.cuda}, {bf16}")
    if not driver:
        return Finding(CheckStatus.OK, "none: runs on the CPU")
    if torch.version.cuda is None:
        found = f"driver {driver}, but torch {torch.__version__} was built without CUDA"
        return Finding(CheckStatus.PROBLEM, found, REINSTALL_TORCH)
    why = "".join(f"; {' '.join(str(w.message).split())}" for w in said)
    advice = f"look at CUDA_VISIBLE_DEVICES, or install a driver for CUDA {torch.version.cuda}"
    return Finding(CheckStatus.PROBLEM, f"driver {driver}, but torch finds no GPU{why}", advice)


def _requirements(name: str, extras: Collection[str] = ()) -> Iterator[Requirement]:
    """Yield what an installed package needs on this machine; nothing if it is not installed."""
    with suppress(importlib.metadata.PackageNotFoundError):
        for text in importlib.metadata.requires(name) or ():
            needed = Requirement(text)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
                yield needed


def _version(name: str) -> str | None:
    with suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(name)
    return None


def _holds(requirement: Requirement) -> bool:
    version = _version(requirement.name)
    return version is not None and requirement.specifier.contains(version, prereleases=True)


def _driver() -> str:
    """Return the version of the NVIDIA driver, "" without one."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        return ""
    return done.stdout.partition("\n")[0].strip()
