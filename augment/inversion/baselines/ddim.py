"""DDIM inversion (Song et al. 2021; Dhariwal & Nichol 2021): the approximation everything else improves on."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from augment.inversion.equation import StepEquation
from augment.inversion.fixed_point import evaluated
from augment.inversion.settings import DDIMSettings
from augment.inversion.solver import Iteration, Solver, State


class DDIM(DDIMSettings, Solver):
    """Take z = f(z'): the network is asked at the cleaner z' instead of at z. One iteration, whatever `Stop` allows.

    It is DDIM inversion without a warm start only. With one it is a single fixed-point iteration from a better guess.
    """

    single_iteration: ClassVar[bool] = True

    def init(self, eq: StepEquation, z: Tensor) -> State:
        return State()

    @torch.no_grad()
    def step(self, eq: StepEquation, z: Tensor, state: State) -> tuple[Iteration, State]:
        return evaluated(eq, z), state
