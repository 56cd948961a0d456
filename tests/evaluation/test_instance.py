"""The instance table: its arithmetic on known truths, and a whole run at toy size."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from augment.evaluation.benchmark import BenchmarkConfig, run_benchmark
from augment.evaluation.instance import InstanceMethod, InstanceSection
from augment.evaluation.instance_scores import InstanceScores, Judges, differences, score_instances
from augment.evaluation.tables import markdown_tables
from augment.tiny.evaluate import load_judge
from augment.tiny.instance import Instances, train_reader
from augment.tiny.instance_tracks import make_track
from augment.tiny.recognise import train_recogniser


def instances(n: int) -> Instances:
    mask = torch.zeros(n, 32, 32)
    mask[:, 8:16, 8:16] = 1
    return Instances(torch.full((n, 2), 30.0), torch.full((n,), 40.0), torch.zeros(n), torch.ones(n), mask)


def test_what_is_seen_as_it_is_differs_in_nothing() -> None:
    found = differences(instances(2), instances(2))
    assert {name: v.tolist() for name, v in found.items()} == {
        "flip_kept": [1, 1],
        "displacement_px": [0, 0],
        "size_error": [0, 0],
        "turn_error": [0, 0],
        "mask_iou": [1, 1],
    }


def test_differences_are_distances_of_the_scene() -> None:
    truth = instances(1)
    seen = replace(
        truth,
        place=truth.place + torch.tensor([[3.0, -4.0]]),
        size=truth.size * 0.9,
        angle=truth.angle - 5,
        flipped=truth.flipped * 0.2,
        mask=truth.mask.roll(4, dims=2),
    )
    found = {name: float(v[0]) for name, v in differences(truth, seen).items()}
    assert found == pytest.approx(
        {"flip_kept": 0, "displacement_px": 5, "size_error": 0.1, "turn_error": 5, "mask_iou": 32 / 96}, abs=1e-6
    )


def test_a_lead_is_paired() -> None:
    """Both vary by scene much more than from each other."""
    base = np.random.default_rng(0).uniform(0, 10, 50)
    base[7] = np.nan
    one, other = (InstanceScores({"displacement_px": base + shift}, 1.0) for shift in (0.0, 1.0))
    lead = one.lead_over(other, "displacement_px")
    assert (lead.value, lead.low, lead.high) == pytest.approx((-1.0, -1.0, -1.0))


@pytest.fixture(scope="module")
def judges(emoji_font: None) -> Judges:
    """The shipped judge, and two that have learnt next to nothing."""
    return Judges(load_judge(), train_recogniser(steps=2, count=16), train_reader(steps=2, count=16))


def test_the_ideal_edit_changes_nothing_but_the_background(judges: Judges) -> None:
    track = make_track("two", 8)
    ideal = score_instances(track, track.ideals, judges)
    assert ideal.sharpness == 1
    assert ideal.values["appearance_change"].tolist() == [0] * 8
    assert ideal.values["companion_change"].tolist() == [0] * 8
    assert ideal.estimates()["target_reached"].value == 1
    assert ideal.estimates()["object_kept"].value == 1
    unchanged = score_instances(track, track.images, judges)
    assert unchanged.values["outside_change"].tolist() == [0] * 8
    assert unchanged.estimates()["target_reached"].value == 0
    assert unchanged.estimates()["rest_kept"].value == 1


def test_only_objects_with_sides_are_asked_for_theirs(judges: Judges) -> None:
    track = make_track("named", 16)
    asked = ~np.isnan(score_instances(track, track.images, judges).values["flip_kept"])
    assert dict(zip(track.classes, asked, strict=True))["car"]
    assert not dict(zip(track.classes, asked, strict=True))["frog"]


@pytest.mark.slow
def test_a_benchmark_writes_rows_leads_and_a_figure(judges: Judges, tmp_path: Path) -> None:
    (tmp_path / "judges").mkdir()
    judges.recogniser.save(tmp_path / "judges" / "recogniser")
    judges.reader.save(tmp_path / "judges" / "reader.safetensors")
    settings = {"num_steps": 4, "strength": 0.75}
    methods = [{"solver": {"name": "anderson"}, "strengths": [0.5, 0.75], "preserve": ["none", "mask"]}]
    methods += [{"solver": {"name": "ddim"}, "warm_start": "none", "stop": {"max_steps": 1, "tolerance": 0}}]
    section = {"settings": settings, "num_scenes": 4, "tracks": ["named", "condition"], "methods": methods}
    config = BenchmarkConfig.model_validate({"num_images": 2, "instance": section})
    report = run_benchmark(config, tmp_path)
    assert json.loads((tmp_path / "report.json").read_text()) == report
    named = [row for row in report["instance"] if row["track"] == "named"]
    methods_of = [(row["method"], row.get("strength"), row.get("preserve")) for row in named]
    assert methods_of == [
        ("render", None, None),
        ("round_trip", None, None),
        ("anderson", 0.5, "none"),
        ("anderson", 0.5, "mask"),
        ("anderson", 0.75, "none"),
        ("anderson", 0.75, "mask"),
        ("ddim", 0.75, "none"),
        ("image_to_image", 0.75, None),
        ("text_to_image", 1.0, None),
    ]
    assert named[5]["appearance_change"] < named[4]["appearance_change"]  # the mask is the true one
    ddim = named[6]
    assert ddim["evaluations_per_edit"] == 3 + 2 * 3  # three steps inverted, three sampled with guidance
    assert ddim["displacement_px_low"] < ddim["displacement_px"] < ddim["displacement_px_high"]
    leads = {(row["method"], row["strength"], row["over"], row["over_strength"]) for row in report["instance_leads"]}
    assert leads == {
        ("anderson", 0.5, "ddim", 0.75),
        ("anderson", 0.75, "ddim", 0.75),
        ("anderson", 0.5, "image_to_image", 0.75),
        ("anderson", 0.75, "image_to_image", 0.75),
        ("ddim", 0.75, "image_to_image", 0.75),
        ("image_to_image", 0.75, "ddim", 0.75),
        ("text_to_image", 1.0, "ddim", 0.75),
        ("text_to_image", 1.0, "image_to_image", 0.75),
    }
    assert (tmp_path / "instance.png").read_bytes()[:4] == b"\x89PNG"
    assert any(line.startswith("| named, n = 4 ") for line in markdown_tables(report))


def test_every_strength_is_combined_with_every_scale() -> None:
    section = InstanceSection.model_validate({"settings": {}, "methods": [{"solver": {"name": "ddim"}}]})
    method = InstanceMethod.model_validate(
        {"solver": {"name": "ddim"}, "strengths": [0.5, 0.6], "guidance_scales": [2.0, 3.0]}
    )
    variants = [(c.strength, c.guidance_scale) for c in method.variants(section.settings)]
    assert variants == [(0.5, 2.0), (0.5, 3.0), (0.6, 2.0), (0.6, 3.0)]
    assert [(c.strength, c.guidance_scale) for c in section.methods[0].variants(section.settings)] == [(0.7, 3.0)]
