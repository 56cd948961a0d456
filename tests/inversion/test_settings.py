"""Settings of solvers and stops: one schema, defaults in one place, messages that help."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import TypeAdapter, ValidationError

from augment.editing.config import EditConfig
from augment.inversion import SOLVERS, Anderson, make_solver
from augment.inversion.settings import AndersonSettings, SolverSettings, Stop


def test_a_section_of_a_config_makes_the_solver_of_its_name() -> None:
    section = TypeAdapter(SolverSettings).validate_python({"name": "anderson", "memory": 5})
    assert section == AndersonSettings(memory=5)
    assert make_solver(**section.model_dump()) == Anderson(memory=5)


def test_every_solver_is_in_the_union_under_its_name_and_is_its_settings() -> None:
    for name, solver in SOLVERS.items():
        section = TypeAdapter(SolverSettings).validate_python({"name": name})
        assert isinstance(solver(), type(section))
        assert make_solver(name).model_dump() == section.model_dump()  # type: ignore[attr-defined]


def test_a_solver_can_stand_where_its_settings_do() -> None:
    assert EditConfig(solver=Anderson(memory=5)).solver.model_dump() == {"name": "anderson", "memory": 5, "ridge": 1e-8}


def test_a_tolerance_alone_leaves_the_other_limits_at_their_defaults() -> None:
    assert EditConfig(stop={"tolerance": 0.01}).stop == Stop(max_steps=Stop().max_steps, tolerance=0.01)  # type: ignore[arg-type]
    assert EditConfig().stop == Stop()
    assert Stop().max_steps == 8


def test_the_first_inverted_step_can_have_a_limit_of_its_own() -> None:
    assert (Stop(max_steps=2).limit(True), Stop(max_steps=2).limit(False)) == (2, 2)
    own = Stop(max_steps=2, first_max_steps=9)
    assert (own.limit(True), own.limit(False)) == (9, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"name": "rnri_relaesed"},
            r"unknown solver 'rnri_relaesed' \(did you mean 'rnri_released'\?\); there are ddim,",
        ),
        (
            {"name": "rnri", "prior_wieght": 0.1},
            r"solver 'rnri': no setting .* \(did you mean 'prior_weight'\?\); it has",
        ),
        ({"name": "rnri", "eta": -1}, "solver 'rnri': eta must be greater than or equal to 0, got -1"),
        ({"name": "rnri", "eta": True}, "eta must be a valid number, got True"),
        ({"name": "ddim", "eta": 0.1}, "solver 'ddim': no setting 'eta'; it has none"),
        ({"name": "anderson", "memory": 2.5}, "memory must be a valid integer, got 2.5"),
        ({"name": "anderson", "memory": 0}, "memory must be greater than or equal to 1, got 0"),
        ({"name": "anderson", "ridge": 0.0}, "ridge must be greater than 0, got 0.0"),
        ({"name": "anderson", "ridge": float("nan")}, "ridge must be a finite number, got nan"),
        ({"name": "renoise", "window": 0}, "window must be greater than or equal to 1"),
        ({"name": "newton_krylov", "krylov_dim": 0}, "krylov_dim must be greater than or equal to 1"),
        ({"name": "gradient_descent", "step_size": 0}, "step_size must be greater than 0"),
        ({"name": "anderson", "memory": 0, "ridge": 0.0}, "memory must be .*; ridge must be"),
    ],
)
def test_a_wrong_solver_is_explained(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_solver(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "arguments",
    [{"max_steps": 0}, {"max_steps": 1.5}, {"tolerance": -1.0}, {"tolerance": float("inf")}, {"first_max_steps": -2}],
)
def test_a_wrong_stop_is_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(arguments))):
        Stop(**arguments)  # type: ignore[arg-type]


def test_settings_need_no_torch() -> None:
    code = "import sys, augment.inversion.settings, augment.editing.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_package_offers_what_its_stub_lists() -> None:
    code = (
        "import augment.inversion as i; [getattr(i, n) for n in i.__all__]; print(len(i.__all__), 'invert' in dir(i))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["24", "True"]
