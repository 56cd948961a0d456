"""The setting that `augment tune` recommends for the demo, judged by the classifier that has seen renders only."""

from __future__ import annotations

import io
from statistics import fmean

import numpy as np
import pytest
from PIL import Image

from augment.editing.config import Setting
from augment.inputs.tensors import to_images
from augment.run.config import load_expand_config
from augment.run.tune import measured_rows, planned_sample, sweep_sample
from augment.run.tune_choice import recommended
from augment.run.tune_edits import SettingSweep
from augment.tiny.evaluate import load_judge
from augment.types import PlannedSource
from tests.run.runs import CONFIG


def judged(swept: SettingSweep, planned: list[PlannedSource], setting: Setting) -> float:
    """Return the share of the edits in which the judge sees the source's object on the target background."""
    judge, hits = load_judge(), []
    for one in planned:
        files = swept.pictures[setting][one.source.key]
        pixels = np.stack([np.array(Image.open(io.BytesIO(file))) for file in files])
        seen = judge.predict(to_images(pixels))
        for i, variant in enumerate(one.variants):
            object_, background = (judge.attributes[name][int(seen[name][i])] for name in ("object", "background"))
            wanted = one.source.attributes["object"], variant.attributes["background"]
            hits.append((object_, background) == wanted)
    return fmean(hits)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_recommended_setting_is_within_a_point_of_the_judges_best() -> None:
    config = load_expand_config(CONFIG)
    sample = planned_sample(config, 24)
    swept, grid = sweep_sample(sample, (), (), lambda line: None)
    scores = {setting: judged(swept, sample.planned, setting) for setting in grid}
    chosen = recommended(measured_rows(config, swept, [one.source.key for one in sample.planned], grid)).setting
    assert len(grid) == 15
    assert min(scores.values()) < max(scores.values()) - 0.1, "the judge tells the settings apart"
    assert scores[chosen] >= max(scores.values()) - 0.01, (chosen, scores)
