"""What each solver can be told, without torch: a config is checked, and a plan made, before anything heavy is imported.

The defaults and the limits are those of the solvers' own classes in `augment.inversion`; a test compares them.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from typing import Any

SOLVER_SETTINGS: Mapping[str, Mapping[str, int | float]] = {
    "ddim": {},
    "fixed_point": {},
    "anderson": {"memory": 3, "ridge": 1e-8},
    "renoise": {"window": 2},
    "forward_step": {"step_size": 0.5},
    "gradient_descent": {"step_size": 1.0},
    "plain_newton": {},
    "newton_krylov": {"krylov_dim": 3},
    "rnri": {"prior_weight": 0.1, "eta": 0.1},
    "rnri_released": {"prior_weight": 0.1, "eta": 0.01},
    "rnri_secant": {"prior_weight": 0.01, "memory": 2, "ridge": 1e-6, "extrapolation": 1.0},
}
_AT_LEAST_ONE = ("memory", "window", "krylov_dim")
_ABOVE_ZERO = (("anderson", "ridge"), ("forward_step", "step_size"), ("gradient_descent", "step_size"))


def complete_settings(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of a solver: those given, and the defaults of the others.

    Raises:
        ValueError: for an unknown name, setting or value, with the nearest match and what there is.
    """
    if name not in SOLVER_SETTINGS:
        raise ValueError(
            f"unknown solver {name!r}{_nearest(name, SOLVER_SETTINGS)}; there are {', '.join(SOLVER_SETTINGS)}"
        )
    known = SOLVER_SETTINGS[name]
    for key, value in settings.items():
        if key not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise ValueError(f"solver {name!r} has no setting {key!r}{_nearest(key, known)}; {has}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise ValueError(f"solver {name!r}: {key} must be a number >= 0, got {value!r}")
        if isinstance(known[key], int) and not isinstance(value, int):
            raise ValueError(f"solver {name!r}: {key} must be a whole number, got {value!r}")
        if key in _AT_LEAST_ONE and value < 1:
            raise ValueError(f"solver {name!r}: {key} must be at least 1, got {value}")
        if (name, key) in _ABOVE_ZERO and value == 0:
            raise ValueError(f"solver {name!r}: {key} must be above 0, got {value}")
    return {**known, **settings}


def _nearest(word: str, choices: Iterable[str]) -> str:
    match = difflib.get_close_matches(word, list(choices), n=1)
    return f" (did you mean {match[0]!r}?)" if match else ""
