from __future__ import annotations

from augment.ledger.plan import (
    cut_units,
    fingerprint_difference,
    flatten,
    relocate,
)
from tests.dataset.parts import planned_sources


def test_units_are_cut_in_order_and_the_last_is_short() -> None:
    units = list(cut_units(planned_sources(5), 2))
    assert [(u.unit_id, len(u.sources)) for u in units] == [("u000000", 2), ("u000001", 2), ("u000002", 1)]
    assert [p.source.key[:2] for u in units for p in u.sources] == ["00", "01", "02", "03", "04"]


def test_difference_of_fingerprints_names_every_key() -> None:
    old = flatten({"editing": {"num_steps": 10, "solver": {"name": "rnri"}}, "seed": 0, "prompts": ("a", "b")})
    new = flatten(
        {"editing": {"num_steps": 20, "solver": {"name": "rnri", "eta": 0.1}}, "seed": 0, "prompts": ["a", "b"]}
    )
    assert fingerprint_difference(old, new) == [
        "editing.num_steps: 10 in the plan, 20 now",
        "editing.solver.eta: (absent) in the plan, 0.1 now",
    ]
    assert fingerprint_difference(old, old) == []


def test_relocate_changes_the_place_only() -> None:
    unit = next(cut_units(planned_sources(2), 2))
    moved = relocate(unit, {p.source.key: f"/elsewhere/{p.source.key}" for p in unit.sources})
    assert [p.source.locator for p in moved.sources] == ["/elsewhere/00_fox", "/elsewhere/01_owl"]
    back = {p.source.key: p.source.locator for p in unit.sources}
    assert relocate(moved, back) == unit
