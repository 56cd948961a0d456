"""Disturbed test pictures: each kind does what its name says, the same every time, and a run's figure is their mean."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from augment.inputs.readers import list_sources, read_bytes
from augment.study import corruptions
from augment.study.corruptions import CORRUPTIONS, corrupted_accuracy
from augment.study.pieces import Point, train_point, training_config
from augment.study.tracks import write_track
from augment.training.measure import TrainedClassifier
from tests.study.toy_study import toy_study

SPLIT = torch.zeros(2, 3, 16, 16, dtype=torch.uint8)
SPLIT[:, :, :, 8:] = 200  # left half black, right half light


@pytest.mark.parametrize("kind", list(CORRUPTIONS))
def test_each_kind_changes_pixels_the_same_way_every_time(kind: str) -> None:
    before = SPLIT.clone()
    changed = CORRUPTIONS[kind](SPLIT)
    assert changed.shape == SPLIT.shape and changed.dtype == torch.uint8
    assert not torch.equal(changed, SPLIT) or kind == "pixelate"  # an edge between blocks stays
    assert torch.equal(changed, CORRUPTIONS[kind](SPLIT)) and torch.equal(SPLIT, before)


def test_known_ends() -> None:
    assert CORRUPTIONS["brightness"](SPLIT)[0, 0, 0].tolist() == [0] * 8 + [255] * 8  # 200 * 1.7 is clipped
    low = CORRUPTIONS["contrast"](SPLIT).float()
    assert float(low.max() - low.min()) == pytest.approx(200 * corruptions.CONTRAST, abs=1)
    noise = CORRUPTIONS["noise"](torch.full((1, 3, 64, 64), 128, dtype=torch.uint8)).float()
    assert float(noise.std()) == pytest.approx(255 * corruptions.NOISE_SIGMA, rel=0.03)
    checks = torch.tensor([[0, 200], [200, 0]], dtype=torch.uint8).repeat(1, 3, 4, 4)
    assert CORRUPTIONS["pixelate"](checks).unique().tolist() == [100]
    blurred = CORRUPTIONS["blur"](SPLIT)[0, 0, 8].float()
    assert bool((blurred.diff() >= 0).all()) and 0 < float(blurred[7]) < float(blurred[8]) < 200


def test_the_figure_of_a_run_is_the_mean_of_the_kinds(tmp_path: Path, emoji_font: Path) -> None:
    config, out = toy_study(arms=["none"]), tmp_path / "study"
    run = train_point(Point("marks", "none"), 0, config, out)
    kept = json.loads((run.folder / "corrupted.json").read_text())
    assert set(kept["kinds"]) == set(CORRUPTIONS)
    assert run.test["corrupted"] == kept["value"] == pytest.approx(float(np.mean(list(kept["kinds"].values()))))
    assert run.test["corrupted_low"] <= kept["value"] <= run.test["corrupted_high"]
    # The network and the pictures are the run's own: without a corruption its predictions are those of the run.
    track = write_track("marks", config, out)
    settings = training_config(track, "none", 0, config, None)
    sources = list_sources(track.tar("test"), "webdataset").sources
    classifier = TrainedClassifier(settings, run.folder, 8)
    pixels = torch.from_numpy(classifier.pixels(sources).take(range(len(sources)))).permute(0, 3, 1, 2)
    truth = np.array([int(source.label) for source in sources])
    assert ((classifier.predict(pixels) == truth) == run.right).all() and read_bytes(sources[0])
    (run.folder / "corrupted.json").write_text(json.dumps({"value": 0.5, "low": 0.25, "high": 0.75}))
    assert corrupted_accuracy(settings, run.folder).high == 0.75  # it is kept, not made again
