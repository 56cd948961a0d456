"""Variants of a test, of which the default suite runs some and the slow one all others.

Only for variants that go through the same code: a kind of failure that one variant alone would find is not slow.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def variants(values: Iterable[Any], *, kept: Iterable[Any]) -> list[Any]:
    """Return the values of `pytest.mark.parametrize`, marked slow but for those that are kept."""
    all_values, kept = list(values), list(kept)
    assert kept and all(value in all_values for value in kept), f"{kept} are not all among {all_values}"
    return [value if value in kept else _slow(value) for value in all_values]


def _slow(value: Any) -> Any:
    return pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=pytest.mark.slow)
