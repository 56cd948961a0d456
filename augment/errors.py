"""Errors that a user can solve: the command line prints their message, without a traceback, and ends with `exit_code`.

A message says what is wrong, where (file, key, value), why, and the next thing to do. Any other exception is a bug, and
keeps its traceback.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import ClassVar


class AugmentError(Exception):
    """Base of all errors that a user can solve.

    Attributes:
        exit_code: what the `augment` command ends with; see docs/exit_codes.md.
    """

    exit_code: ClassVar[int] = 2


class ConfigError(AugmentError, ValueError):
    """A configuration that cannot be used. The message has one line per problem: file, key, value, reason, remedy."""

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        self.source, self.problems = source, tuple(problems)
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__("\n  ".join([f"{count} in {source}:", *problems]))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[str, tuple[str, ...]]]:
        """Pickle by the constructor's arguments: an error crosses from a worker's process to the driver's."""
        return type(self), (self.source, self.problems)


class InputError(AugmentError, ValueError):
    """A dataset that cannot be used as it is; the message says what was found and what to do."""


class UnreachableError(InputError):
    """Say that an input does not answer now, as during an outage of its store, and may answer later."""


class ImageError(AugmentError, ValueError):
    """Bytes that are no usable image; the message is one line that says why."""


class OutputError(AugmentError, ValueError):
    """An output folder that cannot be used as asked; the message says why and what to do."""


class RecordError(AugmentError, ValueError):
    """A record that does not fit the schema of the shards."""


class StoreError(AugmentError, OSError):
    """A store that cannot be used at all; the message says why and what to do."""


class ModelError(AugmentError, ValueError):
    """A model that cannot be loaded or run as asked; the message says which, why and what to do."""


class PromptError(AugmentError, ValueError):
    """Prompts that cannot be made; the message says of which class or template, and why."""


class TrainingError(AugmentError, ValueError):
    """A training run that cannot go on, such as one whose checkpoint belongs to another config."""


class LeakError(AugmentError, ValueError):
    """Pictures of val or test, or edits of them, among those to train on; the message names them."""


class WorkerError(AugmentError, RuntimeError):
    """No worker could be brought up; the message carries the worker's own error."""


class DeviceError(AugmentError, RuntimeError):
    """A device that is broken for this process, which should end."""


class BudgetExceeded(AugmentError, RuntimeError):  # noqa: N818 - it says what happened
    """More has failed than the budget allows; the message says how much, where, and what to do."""

    exit_code = 3


class Interrupted(BaseException):
    """A signal asked this process to stop. What is committed stays; the next run goes on from there.

    Not an `Exception`, so that no handling of bad images takes it for one.

    Attributes:
        signum: number of the signal; the command ends with 128 + signum, as shells report it.
    """

    def __init__(self, signum: int) -> None:
        self.signum = signum
        super().__init__(f"stopped by {signal.Signals(signum).name}")

    def __reduce__(self) -> tuple[type[Interrupted], tuple[int]]:
        """Pickle by the constructor's argument."""
        return type(self), (self.signum,)

    @property
    def exit_code(self) -> int:
        """Return the code that the command ends with."""
        return 128 + self.signum
