"""The settings of the solvers as a config sees them are those of the solvers."""

from __future__ import annotations

import subprocess
import sys

import pytest

from augment.inversion import SOLVERS, hyperparameters
from augment.solver_settings import SOLVER_SETTINGS, complete_settings


def test_defaults_are_those_of_the_classes() -> None:
    assert {name: dict(settings) for name, settings in SOLVER_SETTINGS.items()} == {
        name: hyperparameters(solver()) for name, solver in SOLVERS.items()
    }
    assert list(SOLVER_SETTINGS) == list(SOLVERS)


@pytest.mark.parametrize("name", SOLVER_SETTINGS)
@pytest.mark.parametrize("value", [0, 0.0, 1, 2, 0.5])
def test_what_is_refused_is_what_the_classes_refuse(name: str, value: float) -> None:
    for key, default in SOLVER_SETTINGS[name].items():
        if isinstance(default, int) and isinstance(value, float):
            with pytest.raises(ValueError, match="must be a whole number"):
                complete_settings(name, {key: value})
            continue
        try:
            solver = SOLVERS[name](**{key: value})
        except ValueError as error:
            with pytest.raises(ValueError, match=str(error).partition(",")[0]):
                complete_settings(name, {key: value})
        else:
            assert complete_settings(name, {key: value}) == hyperparameters(solver)


def test_it_needs_no_torch() -> None:
    code = "import sys, augment.solver_settings; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
