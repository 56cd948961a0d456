"""Least-filled sampling: the cells of all images of a job, so that in each class values come as often as they should.

The next edit takes the value for which (count + 1/2) / weight is least: the divisor method of Webster and Sainte-Lague,
which divides seats among parties. It is done for all attributes at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from augment.prompts.grid import PromptConfig, axis_weights, combination_weights
from augment.seeding import seed_for
from augment.types import Source

_SAME = 1 + 1e-9  # costs that differ by less are equal, but for rounding


def balanced_cells(
    sources: Sequence[Source], config: PromptConfig, num_variants: int, seed: int
) -> dict[str, tuple[int, ...]]:
    """Return the key of each source -> flat indices of its `num_variants` cells of the grid of its class.

    Sources are gone through in the order given, so more of them at the end change nothing for those before. The cells
    of a source do not repeat before every allowed one was used. Sources without an allowed cell are left out.
    """
    filled: dict[int, _Filled] = {}
    choices: dict[tuple[str, ...], _Choice] = {}  # sources of a class are alike but for what edits must differ in
    taken = {}
    for source in sources:
        known = (source.attributes.get(name, "") for name in config.differ_from_source)
        choice = choices.get(kind := (source.class_name, *known))
        if choice is None:
            weights = combination_weights(config, source.class_name, source.attributes)
            choice = choices[kind] = _Choice.among(weights)
        if not choice.cells.size:
            continue
        of_class = filled.get(source.label)
        if of_class is None:
            of_class = filled[source.label] = _Filled(axis_weights(config, source.class_name))
        # Clocks of all cells, as in a weighted draw: ties are decided at random, in proportion to the weights.
        clocks = np.random.default_rng(seed_for(seed, source.key)).standard_exponential(choice.size)[choice.cells]
        taken[source.key] = of_class.take(choice, clocks / choice.weights, num_variants)
    return taken


@dataclass(frozen=True)
class _Choice:
    """The cells that some sources may have.

    Attributes:
        size: number of all cells of the grid.
        cells: flat indices of the allowed ones.
        weights: of these.
        values: for each attribute, the index of its value in each of these.
    """

    size: int
    cells: np.ndarray
    weights: np.ndarray
    values: tuple[np.ndarray, ...]

    @classmethod
    def among(cls, weights: np.ndarray) -> _Choice:
        """Return the cells that have a weight; one axis for each attribute."""
        cells = np.flatnonzero(weights)
        return cls(weights.size, cells, weights.ravel()[cells], np.unravel_index(cells, weights.shape))


@dataclass
class _Filled:
    """How often the edits of a class have had each value, and each cell.

    Attributes:
        axes: for each attribute, the weights of its values.
    """

    axes: Sequence[np.ndarray]
    _of_value: list[np.ndarray] = field(init=False)
    _of_cell: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.axes = [weights / (weights.sum() or 1.0) for weights in self.axes]  # each attribute counts as much
        self._of_value = [np.zeros(len(weights)) for weights in self.axes]
        self._of_cell = np.zeros(int(np.prod([len(weights) for weights in self.axes])))

    def take(self, choice: _Choice, clocks: np.ndarray, count: int) -> tuple[int, ...]:
        """Return the cells for one source, and count them."""
        rounds, rest = divmod(count, len(choice.cells))
        sizes = [len(choice.cells)] * rounds + [rest]
        return tuple(int(choice.cells[place]) for size in sizes for place in self._round(choice, clocks, size))

    def _round(self, choice: _Choice, clocks: np.ndarray, size: int) -> list[int]:
        """Return the places, among the allowed cells, of `size` different ones.

        One after the other takes the least filled cell. What is left for the last ones need not be that of any
        attribute, so afterwards each is put where it adds least, as long as that changes something.
        """
        free = np.ones(len(choice.cells), bool)
        chosen: list[int] = []
        for _ in range(size):
            chosen.append(self._least(choice, free, clocks, None))
            self._move(choice, free, chosen[-1], 1)
        changed = 0 < size < len(choice.cells)
        while changed:
            changed = False
            for i, place in enumerate(chosen):
                self._move(choice, free, place, -1)
                chosen[i] = self._least(choice, free, clocks, place)
                self._move(choice, free, chosen[i], 1)
                changed |= chosen[i] != place
        return chosen

    def _least(self, choice: _Choice, free: np.ndarray, clocks: np.ndarray, present: int | None) -> int:
        """Return the place of the free cell whose values, and then which itself, are least filled.

        Of several it is the `present` one, or else the one whose clock is first.
        """
        places = np.flatnonzero(free)
        costs = np.zeros(len(places))
        for weights, counts, values in zip(self.axes, self._of_value, choice.values, strict=True):
            of = values[places]
            costs += (counts[of] + 0.5) / weights[of]
        places = places[costs <= costs.min() * _SAME]
        costs = (self._of_cell[choice.cells[places]] + 0.5) / choice.weights[places]
        places = places[costs <= costs.min() * _SAME]
        if present is not None and present in places:
            return present
        return int(places[np.argmin(clocks[places])])

    def _move(self, choice: _Choice, free: np.ndarray, place: int, by: int) -> None:
        for counts, values in zip(self._of_value, choice.values, strict=True):
            counts[values[place]] += by
        self._of_cell[choice.cells[place]] += by
        free[place] = by < 0
