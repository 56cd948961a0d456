"""Which of several edits is kept: the first that is good enough, or the least bad, for no more than is stated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from augment.editing import EditConfig, Objects, edit
from augment.editing.candidates import Place
from augment.editing.config import Setting
from augment.editing.inverted import checked_schedule
from augment.errors import ModelError
from augment.models.stable_diffusion import StableDiffusion
from tests.models.checks import pictures
from tests.pipelines import stable_diffusion

SOURCES, TARGETS = ["a picture of a fox", "an owl"], [["snow", "a fox"], ["a fox of an owl"]]
SETTINGS = [{"strength": 0.25}, {"strength": 0.5, "guidance_scale": 2.0}, {}]
TRIED = [Setting(0.25, 3.0), Setting(0.5, 2.0), Setting(1.0, 3.0)]


@pytest.fixture(scope="module")
def model():
    return StableDiffusion(stable_diffusion(), model_id="toy", revision="")


def config(**changes: Any) -> EditConfig:
    candidates: dict[str, Any] = {"settings": SETTINGS, "min_text_alignment": 0.5, **changes}
    return EditConfig(num_steps=4, strength=1.0, guidance_scale=3.0, preserve="attention", candidates=candidates)


class Scripted:
    """A judge with an answer for each place and trial."""

    def __init__(self, answers: dict[Place, list[float]]) -> None:
        self.answers, self.asked = answers, []

    def __call__(self, places: Sequence[Place], found: Tensor) -> list[dict[str, float]]:
        assert found.shape == (len(places), 3, 16, 16)
        self.asked.append(list(places))
        trial = len(self.asked) - 1
        return [{"text_alignment": self.answers[place][trial], "label_probability": 1.0} for place in places]


def edited(model: StableDiffusion, settings: EditConfig, judge: Scripted | None = None):
    return edit(model, pictures(), SOURCES, TARGETS, settings, objects=Objects(["fox", "owl"]), judge=judge)


def test_each_edit_is_the_first_that_is_good_enough_and_the_rest_is_not_made(model):
    judge = Scripted({(0, 0): [0.6], (0, 1): [0.1, 0.2, 0.15], (1, 0): [0.49, 0.5]})
    result = edited(model, config(), judge)
    assert judge.asked == [[(0, 0), (0, 1), (1, 0)], [(0, 1), (1, 0)], [(0, 1)]]
    assert result.settings == [[TRIED[0], TRIED[1]], [TRIED[1]]]  # of (0, 1) the least bad
    assert model.network.attn_processors
    plain = config().model_copy(update={"candidates": None})
    for i, of_one in enumerate(result.settings):
        for k, setting in enumerate(of_one):
            expected = edited(model, plain.model_copy(update=setting._asdict())).edits[i][k]
            torch.testing.assert_close(result.edits[i][k], expected, rtol=0, atol=1e-5)
    assert torch.equal(result.reconstruction, edited(model, plain).reconstruction)


def test_never_more_evaluations_than_stated(model):
    bad = {place: [0.0] * 3 for place in ((0, 0), (0, 1), (1, 0))}
    for most, trials in ((2, 1), (5, 1), (6, 2), (13, 2), (14, 3)):  # 1, 2 and 4 steps, with guidance
        judge = Scripted(bad)
        edited(model, config(max_evaluations=most), judge)
        assert len(judge.asked) == trials
    checked_schedule(model, config(max_evaluations=2), "editing")
    with pytest.raises(ModelError, match=r"editing\.candidates\.max_evaluations 1: the first candidate, 1 steps"):
        checked_schedule(model, config(max_evaluations=1), "editing")


def test_a_score_that_is_not_a_number_is_never_good_enough(model):
    answers = {(0, 0): [math.nan, 0.1, 0.1], (0, 1): [0.9], (1, 0): [math.nan] * 3}
    result = edited(model, config(), Scripted(answers))
    assert result.settings == [[TRIED[1], TRIED[0]], [TRIED[0]]]


def test_without_candidates_the_setting_is_the_edits_own_and_nothing_is_judged(model):
    result = edited(model, config().model_copy(update={"candidates": None}))
    assert result.settings == [[TRIED[2]] * 2, [TRIED[2]]]
    with pytest.raises(ValueError, match=r"editing\.candidates: nothing judges them"):
        edited(model, config())


def test_all_minima_count_and_one_is_needed():
    candidates = config(min_label_probability=0.7, min_text_alignment=0.5).candidates
    assert candidates.margin({"label_probability": 0.9, "text_alignment": 0.4}) == pytest.approx(-0.1)
    assert candidates.margin({"label_probability": 0.8, "text_alignment": 0.9}) == pytest.approx(0.1)
    with pytest.raises(ValueError, match="nothing to choose by: give one of min_label_probability"):
        config(min_text_alignment=None)
    assert "candidates" not in EditConfig().identity()
    assert config().identity()["candidates"]["settings"][0]["strength"] == 0.25
