"""The guess at what kind of pictures a dataset has."""

from __future__ import annotations

import pytest

from augment.inputs.appearance import Appearance
from augment.run.domain import guess_domain

PLAIN = Appearance(looked_at=24)
GREY = Appearance(looked_at=24, grey=1.0)
ON_WHITE = Appearance(looked_at=24, plain_border=1.0)
FLAT = Appearance(looked_at=24, flat=1.0)


@pytest.mark.parametrize(
    ("name", "words", "look", "domain"),
    [
        ("mine", ["golden retriever", "tabby cats"], PLAIN, "natural"),
        ("tiere", ["Katze", "Rotfuchs"], PLAIN, "natural"),
        ("动物", ["金毛狗", "橘猫"], PLAIN, "natural"),
        ("mine", ["coffee mug", "running shoes"], PLAIN, "products"),
        ("mine", ["alpha", "beta"], ON_WHITE, "products"),
        ("mine", ["good", "broken large", "bent"], PLAIN, "defects"),
        ("dtd", ["banded", "lacelike", "zigzagged"], PLAIN, "defects"),
        ("chest_xray", ["NORMAL", "PNEUMONIA"], GREY, "medical"),
        ("mine", ["melanoma", "nevus"], PLAIN, "medical"),
        ("EuroSAT", ["annual crop", "river", "sea lake", "highway"], PLAIN, "satellite"),
        ("sketches", ["alpha", "beta"], FLAT, "drawings"),
        # Nothing speaks for one, or as much for another one.
        ("mine", ["alpha", "beta"], PLAIN, "neutral"),
        ("mine", ["alpha", "beta"], GREY, "neutral"),  # photographs may be grey, too
        ("mine", ["buildings", "glacier", "sea"], PLAIN, "neutral"),
        ("mine", ["dog", "chair"], PLAIN, "neutral"),
        ("mine", ["one", "two", "three", "four", "five", "fox"], PLAIN, "neutral"),
    ],
)
def test_guesses(name: str, words: list[str], look: Appearance, domain: str) -> None:
    assert guess_domain(name, words, look)[0] == domain


def test_it_says_why() -> None:
    assert guess_domain("chest_xray", ["normal", "x"], GREY)[1] == (
        "1 of 2 class words, the name 'chest_xray', pictures grey"
    )
    assert guess_domain("mine", ["x"], PLAIN)[1] == "nothing speaks for another one"
    assert guess_domain("mine", ["dog", "chair"], PLAIN)[1] == "natural and products are equally likely"
