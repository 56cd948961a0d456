"""The command that comes before a config, and configs that are in no file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from augment.cli.output import AsJson, messages, show
from augment.errors import ConfigError

if TYPE_CHECKING:
    from augment.run.config import ExpandConfig

_MODEL_HELP = "preset (`sd15`, `sdxl-turbo`, ...), folder or hub id"
ConfigOrNone = Annotated[
    Path | None, typer.Argument(help="YAML config, for example configs/expand/emoji.yaml; or --data instead")
]
Data = Annotated[
    str | None, typer.Option("--data", help="a dataset, to make the config from as `augment init` does, without files")
]
Model = Annotated[str | None, typer.Option("--model", help=f"with --data: {_MODEL_HELP}; `embedded` if not given")]


def init(
    dataset: Annotated[str, typer.Argument(help="folder of images, tars, manifest, pattern or URL")],
    model: Annotated[str, typer.Option("--model", help=_MODEL_HELP)] = "embedded",
    out: Annotated[Path, typer.Option("--out", help="folder for expand.yaml and prompts.yaml")] = Path(),
    domain: Annotated[
        str | None, typer.Option("--domain", help="attribute grid, such as `natural`; guessed if not given")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="overwrite files that are there")] = False,
    as_json: AsJson = False,
) -> None:
    """Look at a dataset, say what is there, and write a config for it: OUT/expand.yaml and OUT/prompts.yaml.

    Class words are cleaned, the attributes that may vary are those of the domain that the pictures seem to be of, and
    the settings are those of the model's family. All of it can be changed in the files, which say what it means.
    """
    with messages(as_json):
        from augment.run.init import initialise

        result = initialise(dataset, model, out, domain=domain or "", force=force)
        show(result.as_dict(), result.lines(), as_json)


def job_config(
    config: Path | None, data: str | None, model: str | None, overrides: list[str] | None, as_json: bool
) -> ExpandConfig:
    """Return the config of a file, or that which `init` would write for a dataset and a model.

    Raises:
        ConfigError: if there is neither, or both, or the config cannot be used.
        InputError, ModelError: if the dataset or the model cannot be used.
    """
    from augment.run.config import load_expand_config
    from augment.run.init import config_without_files

    if config is not None and (data is not None or model is not None):
        raise ConfigError(
            "the command line", [f"--data and --model take the place of a config file; leave out {config}"]
        )
    if config is not None:
        return load_expand_config(config, overrides or [])
    if data is None:
        raise ConfigError("the command line", ["name a config file, or a dataset with --data and a model with --model"])
    made, notes = config_without_files(data, model or "embedded", overrides or [])
    if not as_json:
        print("\n".join(f"note: {note}" for note in notes), file=sys.stderr)
    return made
