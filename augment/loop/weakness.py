"""Where a classifier is weak, told by val alone: error rates of classes, of groups, and of groups within classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Judged:
    """A picture of val: its class, its attributes, and whether the classifier got it wrong."""

    class_name: str
    attributes: Mapping[str, str]
    wrong: bool


@dataclass(frozen=True)
class Weakness:
    """Smoothed error rates, each above 0 and at most 1.

    Attributes:
        overall: of all pictures.
        of_class: class -> error rate.
        of_value: class -> attribute -> value -> error rate.
        seen: class, attribute and value -> wrong and all pictures of val, as counted.
    """

    overall: float
    of_class: dict[str, float]
    of_value: dict[str, dict[str, dict[str, float]]]
    seen: dict[tuple[str, str, str], tuple[int, int]]

    def weakest(self, count: int) -> list[dict[str, object]]:
        """Return the groups within classes with the highest error rates, as rows; of equal ones by name."""
        rows = [
            (-rate, name, attribute, value)
            for name, attributes in self.of_value.items()
            for attribute, values in attributes.items()
            for value, rate in values.items()
        ]
        return [
            {
                "class_name": name,
                "attribute": attribute,
                "value": value,
                "error": -rate,
                **dict(zip(("wrong", "n"), self.seen.get((name, attribute, value), (0, 0)), strict=True)),
            }
            for rate, name, attribute, value in sorted(rows)[:count]
        ]


def weakness_of(
    judged: Sequence[Judged], class_names: Iterable[str], values: Mapping[str, Sequence[str]], smoothing: float
) -> Weakness:
    """Return where the predictions are wrong, with k pictures' worth of the larger set added to the smaller.

    With `wrong` and n pictures counted in each set:

        overall       e     = (wrong + 1) / (n + 2)                            the rule of succession
        class c       e_c   = (wrong_c + k e) / (n_c + k)
        value v       e_v   = (wrong_v + k e) / (n_v + k)                      over all classes
        v within c    e_cv  = (wrong_cv + k p) / (n_cv + k),  p = min(1, e_c e_v / e)

    So what few pictures say counts little, and of a class that has no picture of a value its own error and the value's
    say what to expect.

    Args:
        judged: the pictures of val.
        class_names: of all classes.
        values: attribute -> the values that prompts can name.
        smoothing: k.
    """
    names = list(class_names)

    def rate(wrong: int, n: int, prior: float) -> float:
        return (wrong + smoothing * prior) / (n + smoothing)

    overall = (sum(j.wrong for j in judged) + 1) / (len(judged) + 2)
    of_class = {name: rate(*_count(judged, class_name=name), overall) for name in names}
    seen, of_value = {}, {name: {attribute: dict[str, float]() for attribute in values} for name in names}
    for attribute, known in values.items():
        for value in known:
            at_large = rate(*_count(judged, attribute=attribute, value=value), overall)
            for name in names:
                counted = _count(judged, class_name=name, attribute=attribute, value=value)
                seen[name, attribute, value] = counted
                of_value[name][attribute][value] = rate(*counted, min(1.0, of_class[name] * at_large / overall))
    return Weakness(overall, of_class, of_value, seen)


def _count(judged: Sequence[Judged], class_name: str = "", attribute: str = "", value: str = "") -> tuple[int, int]:
    """Return how many of the pictures of a class, of a value or of both are wrong, and how many there are."""
    found = [
        j.wrong
        for j in judged
        if (not class_name or j.class_name == class_name) and (not attribute or j.attributes.get(attribute) == value)
    ]
    return sum(found), len(found)
