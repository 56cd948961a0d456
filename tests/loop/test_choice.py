"""What is chosen from given figures, exactly: error rates, weights of prompts, shares of classes, and rows."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from augment.loop.choice import Limits, chosen_rows, drawn_order, shares_of, steered_prompts
from augment.loop.weakness import Judged, Weakness, weakness_of
from augment.prompts import PromptConfig
from augment.types import Source

PROMPTS = PromptConfig.model_validate(
    {
        "templates": ["a picture of {a_class} {sky} {sea}"],
        "attributes": {
            "sky": [{"name": "blue", "text": "under a blue sky", "weight": 2}, {"name": "grey", "text": "in rain"}],
            "sea": [{"name": "calm", "text": "at a calm sea"}, {"name": "rough", "text": "in a storm"}],
        },
        "overrides": {"fox": {"sky": {"blue": 0}}},
    }
)
LIMITS = Limits(edits=6, per_image=2, focus=1.0, seed=3, number=1)


def judged(class_name: str, sky: str, wrong: int, right: int) -> list[Judged]:
    return [Judged(class_name, {"sky": sky}, i < wrong) for i in range(wrong + right)]


def images(*names: str, each: int = 4) -> list[Source]:
    return [Source(f"{name}{i}", "", 1, n, name, "a picture") for n, name in enumerate(names) for i in range(each)]


def even(*names: str) -> Weakness:
    return weakness_of([], names, {"sky": ["blue", "grey"]}, 4.0)


# ---- error rates ----------------------------------------------------------------------------------------------------
def test_error_rates_are_those_of_the_formula() -> None:
    of_val = [*judged("owl", "blue", 0, 4), *judged("owl", "grey", 3, 1), *judged("fox", "blue", 1, 3)]
    weakness = weakness_of(of_val, ["fox", "owl", "car"], {"sky": ["blue", "grey", "red"]}, 2.0)
    e = (4 + 1) / (12 + 2)
    assert weakness.overall == e
    owl, fox = (3 + 2 * e) / (8 + 2), (1 + 2 * e) / (4 + 2)
    assert weakness.of_class == {"owl": owl, "fox": fox, "car": e}  # nothing is known of cars
    blue, grey = (1 + 2 * e) / (8 + 2), (3 + 2 * e) / (4 + 2)
    assert weakness.of_value["owl"]["sky"]["grey"] == (3 + 2 * (owl * grey / e)) / (4 + 2)
    assert weakness.of_value["fox"]["sky"]["blue"] == (1 + 2 * (fox * blue / e)) / (4 + 2)
    assert weakness.of_value["fox"]["sky"]["grey"] == fox * grey / e  # no picture: what both say
    assert weakness.of_value["car"]["sky"]["red"] == pytest.approx(e)
    assert weakness.weakest(1) == [
        {
            "class_name": "owl",
            "attribute": "sky",
            "value": "grey",
            "error": weakness.of_value["owl"]["sky"]["grey"],
            "wrong": 3,
            "n": 4,
        }
    ]


def test_without_mistakes_everything_is_equally_weak() -> None:
    weakness = weakness_of(judged("owl", "blue", 0, 9), ["owl", "fox"], {"sky": ["blue", "grey"]}, 4.0)
    assert 0 < weakness.of_class["owl"] < weakness.of_class["fox"] == weakness.overall


# ---- weights of prompts ---------------------------------------------------------------------------------------------
def test_weights_are_the_own_ones_times_error_rates() -> None:
    weakness = Weakness(0.5, {"owl": 0.5}, {"owl": {"sky": {"blue": 0.1, "grey": 0.4}}}, {})
    assert steered_prompts(PROMPTS, weakness, 1.0).overrides["owl"] == {"sky": {"blue": 2 * 0.1 / 0.4, "grey": 1.0}}
    assert steered_prompts(PROMPTS, weakness, 2.0).overrides["owl"]["sky"]["blue"] == pytest.approx(2 / 16)
    assert steered_prompts(PROMPTS, weakness, 0.0).overrides["owl"] == {"sky": {"blue": 2.0, "grey": 1.0}}
    fox = Weakness(0.5, {"fox": 0.5}, {"fox": {"sky": {"blue": 0.9, "grey": 0.4}}}, {})
    assert steered_prompts(PROMPTS, fox, 1.0).overrides["fox"]["sky"]["blue"] == 0  # ruled out stays ruled out


def test_a_large_focus_chases_the_weakest_and_rules_nothing_out() -> None:
    weakness = Weakness(0.5, {"owl": 0.5}, {"owl": {"sky": {"blue": 1e-3, "grey": 2e-3}}}, {})
    assert steered_prompts(PROMPTS, weakness, 200.0).overrides["owl"]["sky"] == {"blue": 2e-30, "grey": 1.0}
    fox = Weakness(0.5, {"fox": 0.5}, {"fox": {"sky": {"blue": 0.9, "grey": 1e-3}}}, {})  # whose blue is ruled out
    assert steered_prompts(PROMPTS, fox, 200.0).overrides["fox"]["sky"] == {"blue": 0, "grey": 1.0}


@pytest.mark.parametrize("focus", [200.0, 1e6])
def test_a_large_focus_ends_in_no_error(focus: float) -> None:
    classes = {"owl": 1e-3, "fox": 2e-3, "car": 3e-3}
    rates = {name: {"sky": {"blue": 2e-3, "grey": 1e-3}} for name in classes}
    weakness = Weakness(0.01, classes, rates, {})
    sources = images(*classes)
    limits = Limits(edits=17, per_image=3, focus=focus, seed=3, number=1)
    losses = {s.key: 10.0 ** (i - 5) for i, s in enumerate(sources)}
    rows = chosen_rows(sources, [], PROMPTS, weakness, losses, limits)
    # Each car has three edits, foxes have two prompts each: what they leave goes to none else.
    assert Counter(row.class_name for row in rows) == {"car": 12, "fox": 5}
    assert Counter(row.key for row in rows if row.class_name == "fox")["fox3"] == 2  # the highest loss
    assert {row.attributes["sky"] for row in rows if row.class_name == "car" and row.variant < 2} == {"blue"}


# ---- shares ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("count", "weights", "limits", "shares"),
    [
        (10, {"a": 3, "b": 1, "c": 1}, {"a": 99, "b": 99, "c": 99}, {"a": 6, "b": 2, "c": 2}),
        (10, {"a": 1, "b": 1, "c": 1}, {"a": 99, "b": 99, "c": 99}, {"a": 4, "b": 3, "c": 3}),  # the name decides
        (10, {"a": 3, "b": 1, "c": 1}, {"a": 4, "b": 99, "c": 99}, {"a": 4, "b": 3, "c": 3}),
        (10, {"a": 3, "b": 1, "c": 1}, {"a": 4, "b": 2, "c": 3}, {"a": 4, "b": 2, "c": 3}),  # there are no more
        (10, {"a": 8, "b": 1, "c": 1}, {"a": 4, "b": 2, "c": 99}, {"a": 4, "b": 2, "c": 4}),
        (1, {"a": 0.1, "b": 0.2}, {"a": 9, "b": 9}, {"a": 0, "b": 1}),
        (5, {"a": 1.0}, {"a": 0}, {"a": 0}),
        (7, {"a": 1e-9, "b": 1.0}, {"a": 9, "b": 3}, {"a": 4, "b": 3}),
    ],
)
def test_shares(count: int, weights: dict[str, float], limits: dict[str, int], shares: dict[str, int]) -> None:
    assert shares_of(count, weights, limits) == shares


def test_images_are_drawn_in_proportion_to_their_losses() -> None:
    sources = images("owl", each=3)
    weights = {"owl0": 6.0, "owl1": 3.0, "owl2": 1.0}
    first = Counter(drawn_order(sources, weights, seed)[0].key for seed in range(2000))
    # The standard deviation of a share of 2,000 draws is 0.011 at most.
    assert [first[s.key] / 2000 for s in sources] == pytest.approx([0.6, 0.3, 0.1], abs=0.04)
    assert drawn_order(sources, weights, 5) == drawn_order(sources[::-1], weights, 5)


# ---- rows -----------------------------------------------------------------------------------------------------------
def choose(sources: list[Source], made: list[Any], weakness: Weakness, **changes: Any) -> list[Any]:
    limits = Limits(**{**LIMITS.__dict__, **changes})
    return chosen_rows(sources, made, PROMPTS, weakness, dict.fromkeys((s.key for s in sources), 1.0), limits)


def test_rows_follow_the_weakness() -> None:
    weakness = Weakness(
        0.3,
        {"owl": 0.1, "car": 0.2},
        {name: {"sky": {"blue": 1e-9, "grey": 1.0}} for name in ("owl", "car")},
        {},
    )
    rows = choose(images("owl", "car"), [], weakness, per_image=1)
    assert Counter(row.class_name for row in rows) == {"car": 4, "owl": 2}
    assert {row.attributes["sky"] for row in rows} == {"grey"}
    assert {row.variant for row in rows} == {0} and len({row.key for row in rows}) == 6
    assert all(row.source_prompt == "a picture" for row in rows)
    assert choose(images("owl", "car")[::-1], [], weakness, per_image=1) != []
    again = choose(images("owl", "car")[::-1], [], weakness, per_image=1)
    assert sorted(row.id for row in again) == sorted(row.id for row in rows)


def test_images_that_are_learned_late_are_edited_first() -> None:
    sources = images("owl")
    limits = Limits(**{**LIMITS.__dict__, "edits": 2})
    for late in ({"owl1", "owl3"}, {"owl0", "owl2"}):
        losses = {s.key: 1e9 if s.key in late else 1e-9 for s in sources}
        assert {row.key for row in chosen_rows(sources, [], PROMPTS, even("owl"), losses, limits)} == late


def test_no_edit_is_planned_twice_and_no_image_gets_more_than_its_share() -> None:
    sources, made = images("owl", "fox"), list[Any]()
    for number in range(1, 6):
        made += choose(sources, made, even("owl", "fox"), number=number)
    assert Counter(row.key for row in made) == dict.fromkeys((s.key for s in sources), 2)
    assert len({(row.key, row.prompt) for row in made}) == len(made) == 16
    assert {row.variant for row in made} == {0, 1}
    assert {row.attributes["sky"] for row in made if row.class_name == "fox"} == {"grey"}  # blue is ruled out


def test_a_class_whose_prompts_are_used_up_leaves_its_share_to_others() -> None:
    sources = images("owl", "fox", each=1)  # four prompts of owls, two of foxes
    rows = choose(sources, [], even("owl", "fox"), per_image=9, edits=9)
    assert Counter(row.class_name for row in rows) == {"owl": 4, "fox": 2}


def test_more_edits_than_images_go_round() -> None:
    rows = choose(images("owl", each=2), [], even("owl"), edits=3)
    assert sorted(Counter(row.key for row in rows).values()) == [1, 2]


def test_without_focus_the_figures_of_val_change_nothing() -> None:
    sources = images("owl", "fox")
    of_val = [*judged("owl", "grey", 9, 0), *judged("fox", "grey", 0, 30)]
    weak = weakness_of(of_val, ["owl", "fox"], {"sky": ["blue", "grey"]}, 1.0)
    assert choose(sources, [], weak, focus=0.0) == choose(sources, [], even("owl", "fox"), focus=0.0)
    assert choose(sources, [], weak, focus=1.0) != choose(sources, [], even("owl", "fox"), focus=1.0)
