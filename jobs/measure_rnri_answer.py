"""What RNRI's answer does to its accuracy: f of the best iterate, as its code returns, or the iterate of its equations.

python -m jobs.measure_rnri_answer [--pictures 8] [--steps 10 20]

The embedded model inverts pictures of `val` under their captions with DDIM, from z', without guidance, and samples them
back. A row per answer and number of iterations: how far below the autoencoder's bound the mean PSNR is, in dB, for each
number of steps. About a minute on one CPU core.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from augment.evaluation.page_tables import markdown
from augment.evaluation.pool import Pool
from augment.inversion import RNRI, Solver, StepEquation, Stop, invert
from augment.inversion.solver import Iteration, State
from augment.models.config import ModelConfig
from augment.models.load import load_model
from augment.tiny.evaluate import load_split


@dataclass(frozen=True)
class _Age(State):
    """Minus the number of iterations, [B]: the merit by which the last one is the best."""

    age: Tensor


class LastIterate(Solver):
    """Answer with the iterate that a solver's last update leads to, whatever the residual is there."""

    def __init__(self, solver: Solver) -> None:
        self.solver = solver

    def init(self, eq: StepEquation, z: Tensor) -> State:
        return _Age(torch.zeros(len(z), device=z.device))

    def step(self, eq: StepEquation, z: Tensor, state: State) -> tuple[Iteration, State]:
        assert isinstance(state, _Age)
        found, _ = self.solver.step(eq, z, self.solver.init(eq, z))
        last = _Age(state.age - 1)
        return replace(found, answer=found.z, merit=last.age), last


def gaps(pool: Pool) -> dict[str, float]:
    """Return how far below the bound each answer ends with one and two iterations, in dB."""
    found = {}
    for name, solver in (("f of the best iterate", RNRI()), ("the last iterate", LastIterate(RNRI()))):
        for count in (1, 2):
            stop = Stop(max_steps=count, tolerance=0.0)
            inversions = [
                invert(batch.denoiser, batch.latents, pool.schedule, solver, stop, warm_start="none", noise=batch.noise)
                for batch in pool.batches
            ]
            quality, _ = pool.reconstruct([i.latents for i in inversions], [i.noise for i in inversions])
            found[f"{name}, {count} iteration{'s' * (count > 1)}"] = pool.bound - float(quality.mean())
    return found


def measure(num_pictures: int, steps: Sequence[int]) -> list[str]:
    """Return the table as Markdown lines."""
    model, pictures = load_model(ModelConfig()), load_split("val", num_pictures)
    columns = [gaps(Pool(model, pictures.images, pictures.captions, model.schedule(count, "ddim"))) for count in steps]
    rows = [[name, *(f"{column[name]:.2f}" for column in columns)] for name in columns[0]]
    return markdown(("answer", *(f"{count} steps" for count in steps)), rows)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=8, help="of val, from the first on")
    parser.add_argument("--steps", type=int, nargs="+", default=[10, 20], help="lengths of the schedule")
    arguments = parser.parse_args()
    print("\n".join(measure(arguments.pictures, arguments.steps)))


if __name__ == "__main__":
    main()
