"""Parts of a model from their folders: every tensor of a network comes from its file, and fits."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from diffusers import EulerDiscreteScheduler
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from augment.errors import ModelError
from augment.models.weights import listed, read_json

UNREAD = "position_ids"  # counts from 0 that old CLIP files hold as a tensor, and nothing reads


@contextlib.contextmanager
def explained(what: str, part: str) -> Iterator[None]:
    """Raise ModelError for whatever the libraries raise about the files of a part.

    Args:
        what: the model, `model 'name'`.
        part: of it, for example `unet`.
    """
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # a damaged file makes the libraries raise anything
        reason = " ".join(str(error).split())[:300]
        raise ModelError(
            f"{what}: its {part} cannot be loaded ({type(error).__name__}: {reason}); download or copy its folder "
            "again, or save the model anew with `save_pretrained(FOLDER)`"
        ) from error


def load_network(cls: Any, source: str | Path, what: str, part: str, **options: Any) -> Any:
    """Load a network of diffusers or transformers whose file has exactly its tensors.

    By themselves the libraries fill what is missing at random, and warn. What they found is the same with `accelerate`
    installed, which makes them build networks without numbers first, and without.

    Args:
        cls: of the network.
        source: its folder, or a name on the hub.
        what: the model, for messages.
        part: of the model, for messages.
        options: of its `from_pretrained`.

    Raises:
        ModelError: naming the tensors that are missing, of another shape or not expected, or for a file that cannot be
            read.
    """
    with explained(what, part):
        network, found = cls.from_pretrained(
            source,
            use_safetensors=True,  # None would fall back to unpickling
            low_cpu_mem_usage=find_spec("accelerate") is not None,  # without it diffusers says so at length
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are named below
            **options,
        )
    problems = [
        *_named("lacks", found["missing_keys"]),
        *_named("has in another shape", (_shapes(*entry) for entry in found["mismatched_keys"])),
        *_named("has, but the network its config describes has not,", found["unexpected_keys"]),
        *(str(message) for message in found["error_msgs"]),
    ]
    if problems:
        raise ModelError(
            f"{what}: the weights of its {part} do not fit its config: the file {'; it '.join(problems)}. Both have to "
            "be of one model and version: download or convert it again"
        )
    return network


def _named(verb: str, tensors: Iterable[str]) -> Iterator[str]:
    if names := sorted(name for name in tensors if UNREAD not in name):
        yield f"{verb} {len(names)} tensor{'s' * (len(names) > 1)} ({listed(names)})"


def _shapes(name: str, in_file: Iterable[int], in_network: Iterable[int]) -> str:
    return f"{name} {tuple(in_file)} for {tuple(in_network)}"


def load_scheduler(cls: Any, folder: Path, what: str) -> Any:
    """Load a scheduler, of which only the config is read here.

    Raises:
        ModelError: if it cannot be read.
    """
    with explained(what, "scheduler"):
        try:
            return cls.from_pretrained(folder)
        except ImportError as error:
            config = read_json(folder / "scheduler_config.json")
            if "beta_schedule" not in config:  # of a flow: its levels are asked of the scheduler itself
                raise ModelError(f"{what}: its scheduler needs a package: {' '.join(str(error).split())}") from error
            # diffusers wants scipy to make an LMS scheduler, or one with beta sigmas. The training schedule is that of
            # any other, and the Euler scheduler has the same defaults.
            stand_in = EulerDiscreteScheduler.from_config({**config, "use_beta_sigmas": False})
            stand_in.register_to_config(use_beta_sigmas=bool(config.get("use_beta_sigmas")))
            return stand_in


def quiet() -> None:
    """Switch progress bars for reading files off: in every worker they would drown the job's own progress."""
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
