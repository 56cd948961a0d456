"""Benchmarks of pictures that were lost, and settings that a benchmark cannot use."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from augment.diffusion import Denoiser
from augment.evaluation.editing import EditingSection
from augment.evaluation.pool import InversionMethod, Pool
from augment.evaluation.rare_concepts import RareConfig
from augment.evaluation.reconstruction import mean_if_finite, measure_inversion
from augment.evaluation.tables import csv_table, markdown_tables, with_nulls
from augment.inversion import SOLVERS
from augment.inversion.settings import SINGLE_ITERATION
from augment.models.clip import load_clip
from augment.models.config import ModelConfig
from augment.models.interface import LatentDiffusion
from augment.models.load import load_model
from augment.tiny.evaluate import Edits, accuracy, load_judge, load_split, score_background_edits
from tests.evaluation.benchmark_rows import inversion_row, report

DDIM = {"solver": {"name": "ddim"}}
RARE = {
    "rare": ["fox"],
    "rarity": 10,
    "num_scenes": 10,
    "training": {"steps": 1, "batch_size": 1, "learning_rate": 1},
    "work_dir": "work",
}


@pytest.fixture(scope="module")
def model() -> LatentDiffusion:
    return load_model(ModelConfig())


def test_a_mean_over_lost_images_is_not_known() -> None:
    assert mean_if_finite(torch.tensor([0.5, 1.5])) == 1.0
    assert math.isnan(mean_if_finite(torch.tensor([math.inf, 0.01])))
    assert math.isnan(mean_if_finite(torch.tensor([math.inf, math.nan])))


def test_lost_images_are_counted_and_their_residual_is_null(model: LatentDiffusion) -> None:
    pictures = load_split("val", 2)
    pool = Pool(model, pictures.images, pictures.captions, model.schedule(2, "ddim"))
    batch = pool.batches[0]

    is_lost = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1)  # a condition as any other: it goes where its sample goes
    whole = batch.denoiser
    denoiser = Denoiser(
        lambda z, t, *c: torch.where(c[-1] > 0, math.nan, whole.predict(z, t, *c[:-1])), (*whole.conditions, is_lost)
    )
    pool.batches[0] = replace(batch, denoiser=denoiser)
    (row,) = measure_inversion(pool, [InversionMethod.model_validate(DDIM)])
    assert (row.lost, row.statuses["non_finite"]) == (1, 1)
    assert math.isnan(row.residual) and math.isnan(row.error)
    assert with_nulls(row.as_dict())["residual"] is None
    assert "`ddim`, 1 lost" in "\n".join(markdown_tables(report() | {"rows": [row.as_dict()]}))
    assert json.loads(json.dumps(with_nulls(row.as_dict()), allow_nan=False))["lost"] == 1


def test_no_class_is_seen_in_a_lost_edit() -> None:
    """Of a picture of no numbers a classifier says its first class."""
    pictures, judge = load_split("val", 4), load_judge()
    lost = torch.full_like(pictures.images, math.nan)
    assert accuracy(judge, lost, "object", [judge.attributes["object"][0]] * 4) == 0.0
    edits = pictures.images.clone()
    edits[1] = math.nan
    assert accuracy(judge, edits, "object", pictures.attribute("object")) == 0.75


def test_background_edits_say_how_many_were_lost() -> None:
    pictures, judge, clip = load_split("val", 4), load_judge(), load_clip()

    def editor(images: Tensor, captions: list[str], prompts: list[str], keys: list[str]) -> Edits:
        edits = images.clone()
        edits[0] = math.nan
        return Edits(edits, [0.0] * len(keys))

    scores = score_background_edits(pictures, editor, judge, clip)
    assert (scores.lost, scores.object_kept) == (1, 0.75)
    assert math.isnan(scores.text_alignment)


def test_a_mask_that_no_picture_has_is_refused() -> None:
    section = {"settings": {"preserve": "mask"}, "methods": [DDIM]}
    with pytest.raises(ValueError, match="preserve: mask needs a mask of every picture"):
        EditingSection.model_validate(section)
    EditingSection.model_validate(section | {"settings": {"preserve": "attention"}})


@pytest.mark.parametrize("setting", [{"preserve": "mask"}, {"self_replace_steps": 1.0}, {"cross_replace_steps": 0.5}])
def test_settings_that_rare_concepts_would_ignore_are_refused(setting: dict[str, Any]) -> None:
    RareConfig.model_validate(RARE | {"generation": {"strength": 1.0}})
    with pytest.raises(ValueError, match=f"{next(iter(setting))}: .* keeps the object of one image"):
        RareConfig.model_validate(RARE | {"generation": {"strength": 1.0} | setting})


def test_methods_of_one_iteration_are_said_to_take_one() -> None:
    assert {name for name, solver in SOLVERS.items() if solver.single_iteration} == SINGLE_ITERATION
    row = inversion_row("ddim", psnr=27.0, evaluations=1.0, num_steps=4, max_steps=8, first_max_steps=8, tolerance=0.03)
    assert "| `ddim` | none | 1 + 1 × 3 | 1.00 |" in "\n".join(markdown_tables(report() | {"rows": [row]}))


def test_a_figure_that_is_not_known_is_empty_in_csv() -> None:
    assert csv_table(with_nulls([{"a": math.nan, "b": 1.5}])).splitlines()[1] == ",1.5"
