"""Errors for users: each crosses the border of a process as it is, and has a code for the command line."""

from __future__ import annotations

import pickle

import pytest

from augment import errors
from augment.errors import AugmentError, ConfigError, Interrupted


def error_classes() -> list[type[AugmentError]]:
    """All of `AugmentError` and its subclasses, however deep."""
    found: list[type[AugmentError]] = [AugmentError]
    for each in found:
        found += [c for c in each.__subclasses__() if c not in found]
    return found


def make(kind: type[AugmentError]) -> AugmentError:
    return kind("a.yaml", ["seed: no number", "run: no section"]) if issubclass(kind, ConfigError) else kind("no disk")


@pytest.mark.parametrize("kind", error_classes(), ids=lambda kind: kind.__name__)
def test_an_error_that_was_pickled_is_the_same(kind: type[AugmentError]) -> None:
    error = make(kind)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.exit_code) == (kind, str(error), error.exit_code)
    assert vars(again) == vars(error)


def test_a_config_error_has_a_line_per_problem() -> None:
    assert str(make(ConfigError)) == "2 problems in a.yaml:\n  seed: no number\n  run: no section"


def test_an_interruption_that_was_pickled_is_the_same() -> None:
    again = pickle.loads(pickle.dumps(Interrupted(15)))
    assert (type(again), str(again), again.signum, again.exit_code) == (Interrupted, "stopped by SIGTERM", 15, 143)


def test_all_errors_for_users_stand_in_one_module() -> None:
    assert {kind.__module__ for kind in error_classes()} == {errors.__name__}
    assert {kind.exit_code for kind in error_classes()} == {2, 3}
