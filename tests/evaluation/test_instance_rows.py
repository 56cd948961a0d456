"""Rows of the instance table: what of the section is theirs, what they cost, and what a lost edit does to them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from augment.evaluation.instance import InstanceSection, measure_instance
from augment.evaluation.instance_scores import InstanceScores, Judges, score_instances
from augment.evaluation.tables import markdown_tables
from augment.models.config import ModelConfig
from augment.models.load import load_model
from augment.models.stable_diffusion import StableDiffusion
from augment.tiny.evaluate import load_judge
from augment.tiny.instance import InstanceReader
from augment.tiny.instance_tracks import make_track
from augment.tiny.recognise import RECOGNISED
from augment.training.classifier import AttributeClassifier

DDIM = {"solver": {"name": "ddim"}, "warm_start": "none"}
SCENES = 2


@pytest.fixture(scope="module")
def model() -> StableDiffusion:
    found = load_model(ModelConfig())
    assert isinstance(found, StableDiffusion)
    return found


@pytest.fixture(scope="module")
def judges(emoji_font: None) -> Judges:
    """The shipped judge, and two that have learnt nothing."""
    return Judges(load_judge(), AttributeClassifier(RECOGNISED).eval(), InstanceReader().eval())


def measured(
    model: StableDiffusion, judges: Judges, settings: dict[str, Any], *methods: dict[str, Any], fresh: bool = True
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return rows and leads of a table of two scenes, in three steps."""
    section = InstanceSection.model_validate(
        {
            "settings": {"num_steps": 4, "strength": 0.75, "guidance_scale": 2.0} | settings,
            "tracks": ["named"],
            "num_scenes": SCENES,
            "methods": list(methods),
            "image_to_image": [{}] if fresh else [],
            "text_to_image": fresh,
        }
    )
    return measure_instance(model, section, judges, batch_size=SCENES)


@pytest.mark.parametrize(
    "settings",
    [
        {"adjustment_strength": 0.5, "inversion_guidance_scale": 2.0, "sampler": "euler_ancestral"},
        {"self_replace_steps": 1.0, "inversion_guidance_scale": 2.0},
        {"preserve": "difference", "guidance_scale": 1.0},
        {"preserve": "mask", "guidance_scale": 1.0, "object_guidance_scale": 2.0, "cross_replace_steps": 0.5},
        {"preserve": "attention", "guidance_scale": 1.0, "object_guidance_scale": 1.0},
    ],
    ids=str,
)
def test_every_row_that_goes_through_the_network_is_counted(
    model: StableDiffusion, judges: Judges, settings: dict[str, Any]
) -> None:
    through = 0

    def count(_: object, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        nonlocal through
        through += len(arguments[0] if arguments else named["sample"])

    hook = model.network.register_forward_pre_hook(count, with_kwargs=True)
    rows, _ = measured(model, judges, settings, DDIM)
    hook.remove()
    of_reconstruction = 3 * (2 if settings.get("inversion_guidance_scale", 1.0) > 1.0 else 1)  # it is not of the edit
    assert sum(row["evaluations_per_edit"] for row in rows) == through / SCENES - of_reconstruction


def test_what_a_row_leaves_out_is_the_sections(model: StableDiffusion, judges: Judges) -> None:
    section = {
        "preserve": "attention",
        "self_replace_steps": 1.0,
        "inversion_guidance_scale": 2.0,
        "warm_start": "none",
        "stop": {"max_steps": 1, "first_max_steps": 0, "tolerance": 0.0},
    }
    own = {"preserve": ["none"], "self_replace_steps": [0.0], "inversion_guidance_scale": 1.0, "warm_start": "previous"}
    rows, _ = measured(model, judges, section, {"solver": {"name": "ddim"}}, DDIM | own, fresh=False)
    silent, outspoken = rows[2:]
    assert {name: silent[name] for name in section} == section
    assert {name: outspoken[name] for name in section} == section | {
        "preserve": "none",
        "self_replace_steps": 0.0,
        "inversion_guidance_scale": 1.0,
        "warm_start": "previous",
    }


def test_guided_ddim_is_told_apart_and_is_not_plain_ddim(model: StableDiffusion, judges: Judges) -> None:
    rows, leads = measured(model, judges, {}, DDIM, DDIM | {"inversion_guidance_scale": 2.0}, fresh=False)
    assert {(lead["inversion_guidance_scale"], lead["over"]) for lead in leads} == {(2.0, "ddim")}
    table = markdown_tables({"n": 1, "split": "val", "bound_psnr": 30.0, "rows": [], "instance": rows})
    assert [line.split("|")[1].strip() for line in table[-2:]] == ["`ddim`", "`ddim, guidance while inverting = 2`"]


@pytest.mark.parametrize(
    "row", [{"strengths": [1.5]}, {"guidance_scales": [0.5]}, {"self_replace_steps": [2]}], ids=str
)
def test_a_row_out_of_range_is_refused_with_the_config(row: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(row))):
        InstanceSection.model_validate({"settings": {}, "methods": [DDIM | row]})


def test_lost_edits_are_counted_and_make_no_method_look_better(judges: Judges) -> None:
    track = make_track("named", 4)
    whole = score_instances(track, track.ideals, judges)
    broken = track.ideals.clone()
    broken[2, 0, 5, 5] = math.nan
    scores = score_instances(track, broken, judges)
    assert (whole.lost, scores.lost) == (0, 1)
    assert [scores.values[name][2] for name in ("target_reached", "object_kept", "rest_kept")] == [0, 0, 0]
    estimates = scores.estimates()
    assert estimates["target_reached"].value == whole.estimates()["target_reached"].value - 0.25
    assert all(math.isnan(estimates[name].value) for name in ("displacement_px", "mask_iou", "appearance_change"))
    assert "companion_change" not in estimates  # there is no second object, lost or not
    assert math.isnan(scores.sharpness)
    lead, without = scores.lead_over(whole, "displacement_px"), whole.lead_over(whole, "displacement_px")
    assert lead is not None and math.isnan(lead.value)
    assert without is not None and without.value == 0
    of_share = scores.lead_over(whole, "target_reached")
    assert of_share is not None and of_share.value == -0.25


def test_a_pair_of_lost_edits_is_no_lead() -> None:
    one, other = (InstanceScores({"mask_iou": np.array([value, np.inf, 0.5])}, 1.0, 1) for value in (0.2, 0.4))
    lead = one.lead_over(other, "mask_iou")
    assert lead is not None and math.isnan(lead.value)


def test_a_table_says_how_many_are_lost(model: StableDiffusion, judges: Judges) -> None:
    rows, _ = measured(model, judges, {}, DDIM, fresh=False)
    known = {"n": 1, "split": "val", "bound_psnr": 30.0, "rows": []}
    unknown = dict.fromkeys(("displacement_px", "displacement_px_low", "displacement_px_high"), math.nan)
    for nothing in (unknown, dict.fromkeys(unknown)):  # as measured, and as read from a report
        line = markdown_tables(known | {"instance": [rows[-1] | nothing | {"lost": 1}]})[-1]
        assert line.startswith("| `ddim`, 1 lost | 0.75 | 2 |") and "| – |" in line and "nan" not in line
