"""DDIM inversion (Song et al. 2021; Dhariwal & Nichol 2021): the approximation everything else improves on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from augment.inversion.fixed_point import FixedPoint


@dataclass(frozen=True)
class DDIM(FixedPoint):
    """z = f(z'): the network is asked at the cleaner z' instead of at z. One iteration, whatever `Stop` allows."""

    single_iteration: ClassVar[bool] = True
