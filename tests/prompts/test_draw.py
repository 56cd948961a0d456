from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from augment.config import load_config
from augment.errors import PromptError
from augment.prompts import PromptConfig, plan_source, unused_classes
from augment.tiny.captions import canonical_caption
from augment.tiny.world import BACKGROUNDS, CLASSES, CONDITIONS
from augment.types import PlannedSource, Source

EMOJI = Path(__file__).parents[2] / "configs" / "prompts" / "emoji.yaml"


def source(key: str = "fox/1", class_name: str = "fox", caption: str = "", **attributes: str) -> Source:
    return Source(key, f"{key}.png", 1, 0, class_name, caption, attributes)


def config(**changes: Any) -> PromptConfig:
    values = {
        "templates": ["{a_class} {place}", "one {class} {place}"],
        "source_template": "{a_class} {place}",
        "attributes": {"place": [{"name": n, "text": f"in {n}"} for n in ("a", "b", "c", "d")]},
    }
    return PromptConfig.model_validate(values | changes)


def places(planned: PlannedSource) -> list[str]:
    return [v.attributes["place"] for v in planned.variants]


def test_variants_say_what_they_are() -> None:
    planned = plan_source(source(), config(templates=["{a_class} {place}"]), 3, seed=0)
    assert planned.source == source()
    assert [v.index for v in planned.variants] == [0, 1, 2]
    assert [v.prompt for v in planned.variants] == [f"a fox in {p}" for p in places(planned)]


def test_combinations_do_not_repeat_before_all_were_used() -> None:
    for i in range(20):
        drawn = places(plan_source(source(str(i)), config(), 8, seed=1))
        assert sorted(drawn[:4]) == ["a", "b", "c", "d"]
        assert drawn[4:] == drawn[:4]


def test_a_repeated_combination_comes_with_the_next_template() -> None:
    prompts = [v.prompt for v in plan_source(source(), config(), 9, seed=1).variants]
    assert len(set(prompts[:8])) == 8
    assert prompts[8] == prompts[0]


def test_templates_without_an_attribute_make_no_prompt_twice_and_do_not_claim_it() -> None:
    times = [{"name": "day", "text": ""}, {"name": "night", "text": "at night"}]
    two = {"place": [{"name": "a", "text": "in a"}, {"name": "b", "text": "in b"}], "time": times}
    both = config(templates=["{a_class} {place}", "{class} {place} {time}"], attributes=two)
    for i in range(20):
        variants = plan_source(source(str(i)), both, 4, seed=1).variants
        assert len({v.prompt for v in variants}) == 4
        assert [("night" in v.attributes.get("time", "")) for v in variants] == [
            "at night" in v.prompt for v in variants
        ]
        assert all(("time" in v.attributes) == (not v.prompt.startswith("a ")) for v in variants)


def test_the_draw_depends_on_seed_and_key_only_and_prefixes_agree() -> None:
    def drawn(key: str, seed: int, num: int) -> list[str]:
        return [v.prompt for v in plan_source(source(key), config(), num, seed).variants]

    assert drawn("k", 0, 8) == drawn("k", 0, 8)
    assert drawn("k", 0, 8)[:3] == drawn("k", 0, 3)
    assert len({tuple(drawn("k", seed, 4)) for seed in range(50)}) > 20
    assert len({tuple(drawn(str(key), 0, 4)) for key in range(50)}) > 20


def test_first_draws_follow_the_weights() -> None:
    values = [{"name": n, "text": n, "weight": w} for n, w in (("a", 1), ("b", 2), ("c", 7))]
    weighted = config(attributes={"place": values})
    counts = Counter(places(plan_source(source(str(i)), weighted, 1, seed=0))[0] for i in range(3000))
    assert counts["a"] / 3000 == pytest.approx(0.1, abs=0.02)  # the standard error is 0.005
    assert counts["c"] / 3000 == pytest.approx(0.7, abs=0.03)


def test_second_draws_are_without_replacement() -> None:
    values = [{"name": n, "text": n, "weight": w} for n, w in (("a", 1), ("b", 2), ("c", 7))]
    weighted = config(attributes={"place": values})
    pairs = Counter(tuple(places(plan_source(source(str(i)), weighted, 2, seed=0))) for i in range(3000))
    assert pairs["c", "b"] / 3000 == pytest.approx(0.7 * 2 / 3, abs=0.04)


def test_ruling_one_value_out_leaves_the_order_of_the_others() -> None:
    for i in range(20):
        free = places(plan_source(source(str(i)), config(), 4, seed=2))
        bound = places(plan_source(source(str(i), place="b"), config(differ_from_source=["place"]), 3, seed=2))
        assert bound == [p for p in free if p != "b"]


def test_the_source_prompt_is_the_caption_or_the_template_with_what_is_known() -> None:
    assert plan_source(source(caption="my fox"), config(), 1, seed=0).source_prompt == "my fox"
    assert plan_source(source(place="c"), config(), 1, seed=0).source_prompt == "a fox in c"
    assert plan_source(source(place="elsewhere"), config(), 1, seed=0).source_prompt == "a fox"
    assert plan_source(source(class_name="owl"), config(), 1, seed=0).source_prompt == "an owl"


def test_nothing_left_names_the_class_and_the_image() -> None:
    nothing = config(exclude=[{"class": "fox", "place": p} for p in "abcd"])
    with pytest.raises(PromptError, match=r"class 'fox' \(image 'fox/1'\)"):
        plan_source(source(), nothing, 1, seed=0)
    assert len(plan_source(source(class_name="owl"), nothing, 4, seed=0).variants) == 4


def test_no_variants_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1, not 0"):
        plan_source(source(), config(), 0, seed=0)


def test_templates_alone() -> None:
    plain = PromptConfig(templates=("a {class}", "the {class}"))
    planned = plan_source(source(), plain, 2, seed=0)
    assert sorted(v.prompt for v in planned.variants) == ["a fox", "the fox"]
    assert planned.source_prompt == "a picture of a fox"


def test_unused_classes() -> None:
    mentions = config(overrides={"fix": {"place": {"a": 0}}}, exclude=[{"class": "owl", "place": "a"}, {"place": "b"}])
    assert unused_classes(mentions, ["fox", "owl"]) == ["fix"]


def test_emoji_prompts_are_the_captions_the_embedded_model_knows() -> None:
    emoji = load_config(EMOJI, PromptConfig)
    for name in CLASSES:
        planned = plan_source(source(name, name, background="snow", condition="fog"), emoji, 28, seed=0)
        seen = {(v.attributes["background"], v.attributes["condition"]): v.prompt for v in planned.variants}
        assert seen == {(b, c): canonical_caption(name, b, c) for b in BACKGROUNDS if b != "snow" for c in CONDITIONS}
        assert planned.source_prompt == canonical_caption(name, "snow", "fog")
