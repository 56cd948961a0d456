"""From a dataset to a config without writing YAML: into two files, or straight into a run.

augment init photos --model sdxl-turbo --out configs
augment expand --data photos --model sdxl-turbo
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from augment.config import parse_config
from augment.errors import OutputError
from augment.run.config import ExpandConfig
from augment.run.starter import PROMPTS, Starter, starter
from augment.storage.local_store import check_local_folder
from augment.storage.tar import write_bytes_atomic

EXPAND = "expand.yaml"
_IN_MEMORY = "the config made of --data and --model"


@dataclass(frozen=True)
class InitReport:
    """What was seen and written.

    Attributes:
        starter: what was seen, and the texts.
        files: the files that were written.
    """

    starter: Starter
    files: tuple[Path, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the content of `--json`."""
        seen = self.starter.seen
        return {
            "format": seen.detected.format,
            "classes": len(seen.counts),
            "images": seen.images,
            "class_words": dict(seen.words),
            "model": self.starter.preset.name,
            "notes": [f"domain {self.starter.domain}: {self.starter.why}", *self.starter.notes],
        }

    def lines(self) -> list[str]:
        """Return lines for a person."""
        return [
            *self.starter.seen.lines(),
            f"domain          {self.starter.domain}: {self.starter.why}; --domain takes another",
            f"model           {self.starter.preset.name}: {self.starter.preset.describes}",
            *(f"note            {note}" for note in self.starter.notes),
            f"written         {', '.join(map(str, self.files))}",
            f"next            augment validate {self.files[0]}",
        ]


def initialise(dataset: str, model: str, out: Path, *, domain: str = "", force: bool = False) -> InitReport:
    """Look at a dataset and write `expand.yaml` and `prompts.yaml` for it.

    Args:
        dataset: folder, tar, manifest, pattern or URL.
        model: a preset's name, a folder, or an id of the Hugging Face hub.
        out: folder for the two files.
        domain: name of an attribute grid; "" to guess it.
        force: overwrite files that are there.

    Raises:
        ConfigError, InputError, ModelError, OutputError: if the dataset, the model or the folder cannot be used, or a
            file is there already; nothing is written then.
    """
    check_local_folder(out, "--out")
    files = (out / EXPAND, out / PROMPTS)
    if not force and (there := [str(file) for file in files if os.path.lexists(file)]):
        raise OutputError(
            f"{' and '.join(there)} {'is' if len(there) == 1 else 'are'} there already; name another folder with "
            "--out, or overwrite with --force"
        )
    made = starter(dataset, model, domain, file=str(files[0]))
    out.mkdir(parents=True, exist_ok=True)
    for file, text in zip(files, (made.expand, made.prompts), strict=True):
        write_bytes_atomic(file, text.encode())
    return InitReport(made, files)


def config_without_files(
    dataset: str, model: str, overrides: Sequence[str] = ()
) -> tuple[ExpandConfig, tuple[str, ...]]:
    """Return the config that `initialise` would write, with its prompts inside, and what to know about it.

    Raises:
        ConfigError, InputError, ModelError: if the dataset, the model or an override cannot be used.
    """
    made = starter(dataset, model)
    text = made.expand.replace(f"prompts: {PROMPTS}\n", "prompts:\n" + textwrap.indent(made.prompts, "  "))
    config = parse_config(text, _IN_MEMORY, ExpandConfig, overrides)
    if isinstance(config.prompts, Path):  # an override, relative to the working directory as all that is typed
        config = config.model_copy(update={"prompts": config.prompts.absolute()})
    return config, (f"domain {made.domain}: {made.why}", *made.notes)
