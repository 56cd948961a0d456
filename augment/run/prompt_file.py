"""The key `prompts` of a job: a file of prompts, or the prompts themselves; and the file of lines in either."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Discriminator, Tag

from augment.config import ExpandedPath, KeyPath, folder_of_key, load_config
from augment.errors import ConfigError
from augment.prompts import PromptConfig
from augment.prompts.lines import line_problem, parse_lines


def _kind(value: object) -> str:
    return "prompts" if isinstance(value, dict | PromptConfig) else "file"


PromptsField = Annotated[
    Annotated[ExpandedPath, Tag("file")] | Annotated[PromptConfig, Tag("prompts")], Discriminator(_kind)
]


def located(
    prompts: Path | PromptConfig,
    path: Path | str,
    key: Sequence[str] = ("prompts",),
    overrides: Sequence[str] = (),
    origins: Mapping[KeyPath, str] | None = None,
) -> Path | PromptConfig:
    """Return a job's prompts with absolute paths.

    A path is relative to the file that says it, which may be one that `path` extends; in an override to the working
    directory.

    Args:
        prompts: as loaded.
        path: YAML file that they were loaded from.
        key: where in it they are.
        overrides: `dotted.key=value`, with which they were loaded.
        origins: as for `folder_of_key`.
    """
    if not isinstance(prompts, PromptConfig):
        return (folder_of_key(path, tuple(key), overrides, origins) / prompts).absolute()
    if isinstance(prompts.lines, Path):
        folder = folder_of_key(path, (*key, "lines"), overrides, origins)
        return prompts.model_copy(update={"lines": (folder / prompts.lines).absolute()})
    return prompts


def load_prompts(prompts: Path | PromptConfig) -> PromptConfig:
    """Return a job's prompts, read from their file if they are in one, and so their lines.

    A text file, `.txt`, holds lines and nothing else.

    Raises:
        ConfigError: as `load_config` does, or if the lines cannot be read or used.
    """
    if isinstance(prompts, PromptConfig):
        config = prompts
    elif prompts.suffix == ".txt":
        config = PromptConfig(lines=prompts)
    else:
        origins: dict[KeyPath, str] = {}
        loaded = located(load_config(prompts, PromptConfig, origins=origins), prompts, (), origins=origins)
        assert isinstance(loaded, PromptConfig)
        config = loaded
    name = prompts_name(prompts)
    if isinstance(config.lines, Path):
        lines = parse_lines(_text(config.lines), str(config.lines))
        return config.model_copy(update={"lines": lines})
    inside = [line for some in (config.lines or {}).values() for line in some]
    if problems := [f"lines: {problem}" for line in inside if (problem := line_problem(line))]:
        raise ConfigError(name, problems)
    if config.lines is not None and not inside:
        raise ConfigError(name, ["lines: there is no prompt; write some under `*` or under a class"])
    return config


def prompts_name(prompts: Path | PromptConfig) -> str:
    """Return what messages call a job's prompts: their file, or the section of the config."""
    return "prompts" if isinstance(prompts, PromptConfig) else str(prompts)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(str(path), [f"{path}: no such file; it is named by prompts.lines"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), [f"{path}: cannot be read as text in UTF-8 ({error})"]) from error
