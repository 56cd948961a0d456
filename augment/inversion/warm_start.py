"""The first guess at an inverted step: an axis of its own, of which no solver knows anything."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from augment.inversion.equation import StepEquation
from augment.inversion.settings import WarmStart


@dataclass(frozen=True)
class Prediction:
    """What the network answered where an inverted step ended.

    Attributes:
        log_snr: log(signal^2 / noise^2) of the latents it was asked at.
        eps: [B, C, H, W].
    """

    log_snr: float
    eps: Tensor


def first_guess(
    eq: StepEquation, warm_start: WarmStart, earlier: Sequence[Prediction], *, sigma_scaled: bool = False
) -> Float[Tensor, "B C H W"]:
    """Return the first iterate for an inverted step, without an evaluation.

    - `none`: z', what published methods start from; z is z' plus little where steps are small.
    - `previous`: f of the previous inverted step's prediction.
    - `extrapolated`: f of the prediction extrapolated linearly, in the logarithm of the signal-to-noise ratio, from the
      last two inverted steps. So do the two-step methods of Adams and Bashforth (in time; Hairer et al. 1993, chapter
      III.1) and DPM-Solver++(2M) (in log-SNR, of the predicted image; Lu et al. 2022, algorithm 2) predict; they use
      the line's mean over the step, where the implicit equation asks for its value at the step's far end.

    The first inverted step has only z' to start from, the second only one prediction. Where the extrapolation would
    reach to an infinite ratio (pure noise, from which rectified flows start), the previous prediction is taken.

    Args:
        earlier: the predictions that the inverted steps before this one ended with, the newest last.
        sigma_scaled: whether the method keeps latents as x + sigma n. Its z' is then (s/s') z' at the level of z.
    """
    if warm_start == "none" or not earlier:
        return eq.after * (eq.step.start.signal / eq.step.end.signal) if sigma_scaled else eq.after
    eps = earlier[-1].eps
    if warm_start == "extrapolated" and len(earlier) > 1:
        before, last = earlier[-2:]
        ratio = (eq.step.start.log_snr - last.log_snr) / (last.log_snr - before.log_snr)
        if math.isfinite(ratio):
            eps = eps + ratio * (eps - before.eps)
    return eq.f_of_eps(eps)
