from __future__ import annotations

from collections import Counter

from augment.ledger.plan import (
    UNITS_BETWEEN_CUTS,
    cut,
    cut_units,
    fingerprint_difference,
    flatten,
    in_plan_order,
    relocate,
)
from augment.types import Source
from tests.dataset.parts import planned_sources


def sorted_by_class(classes: int, per_class: int) -> list[Source]:
    return [
        Source(f"class{label:02d}/{i:04d}", f"/nowhere/{label}/{i}", 1, label, f"class {label}")
        for label in range(classes)
        for i in range(per_class)
    ]


def units_of(sources: list[Source], unit_size: int) -> list[tuple[str, ...]]:
    """The keys in each unit."""
    return [tuple(s.key for s in unit) for unit in cut(in_plan_order(sources), unit_size, lambda s: s.key)]


def test_every_unit_is_a_mixture_of_sorted_classes() -> None:
    units = list(cut(in_plan_order(sorted_by_class(20, 200)), 16, lambda s: s.key))
    classes = [len({s.label for s in unit}) for unit in units if len(unit) == 16]
    assert len(classes) > 230
    # 16 of 20 classes drawn with replacement: 20 (1 - 0.95^16) = 11.2 different ones.
    assert abs(sum(classes) / len(classes) - 11.2) < 0.3
    assert min(classes) >= 7


def test_the_order_depends_on_the_keys_alone() -> None:
    sources = sorted_by_class(3, 50)
    ordered = in_plan_order(sources)
    assert [s.key for s in ordered[:3]] == ["class00/0045", "class01/0048", "class00/0026"]  # in every release
    assert in_plan_order(sources[::-1]) == ordered
    fewer = [s for i, s in enumerate(sources) if i % 7]
    assert in_plan_order(fewer) == [s for s in ordered if s in fewer]


def test_one_more_source_changes_the_units_beside_it_only() -> None:
    sources, size = sorted_by_class(20, 1000), 4
    before = units_of(sources, size)
    changed = []
    for number in range(50):
        new = Source(f"new/{number}", "/nowhere", 1, 0, "class 0")
        after = units_of([*sources, new], size)
        assert sorted(key for unit in after for key in unit) == sorted([s.key for s in sources] + [new.key])
        changed.append(len(set(before) - set(after)))
    assert sum(changed) / len(changed) < 1.5 * UNITS_BETWEEN_CUTS  # of 5,000 units
    sizes = Counter(len(unit) for unit in before)
    assert max(sizes) == size
    assert len(before) < 1.02 * len(sources) / size  # and few units are short


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


def test_a_difference_shows_no_hashes() -> None:
    old, new = {"input.class_names": "0123456789abcdef"}, {"input.class_names": "fedcba9876543210"}
    assert fingerprint_difference(old, new) == ["input.class_names: not what it was in the plan"]
