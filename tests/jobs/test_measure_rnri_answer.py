"""The other answer of RNRI: the iterate after the last update, by the solver's own update."""

from __future__ import annotations

import torch

from augment.inversion import RNRI, StepEquation, solve
from augment.inversion.solver import State
from jobs.measure_rnri_answer import LastIterate, measure
from tests.problems import STEP, latents, nonlinear_denoiser


def test_the_answer_is_the_last_iterate_even_where_the_objective_grew() -> None:
    eq, z, rnri = StepEquation(nonlinear_denoiser(), STEP, latents(7)), latents(7), RNRI(prior_weight=1.0)
    objectives = []
    for count in (1, 2, 3):
        found, _ = rnri.step(eq, z, State())
        objectives.append(found.merit)
        z = found.z
        solution = solve(eq, LastIterate(rnri), latents(7), count, 0.0)
        torch.testing.assert_close(solution.z, z)
        assert (solution.forward.tolist(), solution.vjp.tolist()) == ([count] * 7, [count] * 7)
    assert (torch.stack(objectives).diff(dim=0) > 0).all()  # the first iterate is the best


def test_a_row_for_each_answer_and_number_of_iterations() -> None:
    lines = measure(1, [1])
    assert lines[0] == "| answer | 1 steps |"
    assert [line.split(" | ")[0] for line in lines[2:]] == [
        "| f of the best iterate, 1 iteration",
        "| f of the best iterate, 2 iterations",
        "| the last iterate, 1 iteration",
        "| the last iterate, 2 iterations",
    ]
