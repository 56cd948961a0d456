"""What survives: exact figures for models and networks whose answers are known."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from augment.editing import EditConfig
from augment.models.config import ModelConfig
from augment.models.load import load_model
from augment.tiny.evaluate import load_judge
from augment.tiny.recognise import (
    RECOGNISED,
    TESTING,
    TRAINING,
    edge_energy,
    edit_backgrounds,
    measure_wide,
    render_classes,
    round_trip,
    train_recogniser,
)

pytestmark = pytest.mark.usefixtures("emoji_font")


class Remembers:
    """A classifier that knows its pictures by heart; for any other it answers with the first class."""

    def __init__(self, *renders):
        self.attributes = RECOGNISED
        self.known = {
            image.numpy().tobytes(): name for r in renders for image, name in zip(r.images, r.names, strict=True)
        }

    def predict(self, images):
        found = [self.known.get(image.numpy().tobytes(), "") for image in images]
        return {k: torch.tensor([v.index(f) if f in v else 0 for f in found]) for k, v in RECOGNISED.items()}


IDENTITY = SimpleNamespace(encode=lambda images: images, decode=lambda latents: latents)
BLACK = SimpleNamespace(encode=lambda images: images, decode=lambda latents: -torch.ones_like(latents))


def test_edge_energy_of_a_step():
    images = torch.zeros(1, 1, 4, 4)
    images[..., 2:] = 1.0
    assert edge_energy(images) == pytest.approx(4 / 12)


def test_figures_of_models_that_keep_all_and_nothing(monkeypatch):
    renders = [render_classes(kind, 24, TESTING) for kind in RECOGNISED]
    edits = (["meadow"] * 24, renders[0].images)
    monkeypatch.setattr("augment.tiny.recognise.edit_backgrounds", lambda *_: edits)
    pictures = renders[0].images[:4]
    kept = measure_wide(IDENTITY, Remembers(*renders), load_judge(), pictures, EditConfig(), 24)
    assert (kept.heldout_recognised_renders, kept.heldout_recognised_after_vae, kept.heldout_edit_kept) == (1, 1, 1)
    assert (kept.marks_recognised_after_vae, kept.sharpness_ratio, kept.heldout_n) == (1, 1, 24)
    shown = np.mean([scene.background == "meadow" for scene in renders[0].scenes])
    assert kept.heldout_edit_background == pytest.approx(shown, abs=1 / 24)
    lost = measure_wide(BLACK, Remembers(*renders), load_judge(), pictures, EditConfig(), 24)
    assert (lost.heldout_recognised_after_vae, lost.marks_recognised_after_vae) == (1 / 24, 1 / 8)  # the first class
    assert (lost.heldout_recognised_renders, lost.sharpness_ratio) == (1, 0)


def test_renders_to_train_on_and_to_test_on_share_no_scene():
    for kind in RECOGNISED:
        scenes = [render_classes(kind, 16, purpose).scenes for purpose in (TRAINING, TESTING)]
        assert not set(scenes[0]) & set(scenes[1])
        again = render_classes(kind, 16, TRAINING)
        assert again.scenes == scenes[0] and again.names == [
            RECOGNISED[kind][i % len(RECOGNISED[kind])] for i in range(16)
        ]


def test_the_recogniser_learns_and_is_the_same_every_time():
    one, two = (train_recogniser(steps=3, batch_size=8, count=24) for _ in range(2))
    assert one.attributes == RECOGNISED
    assert torch.equal(one.stem.weight, two.stem.weight)


def test_edits_change_the_background_by_prompts_without_an_object():
    renders = render_classes("unknown", 2, TESTING)
    model = load_model(ModelConfig())
    targets, edits = edit_backgrounds(model, renders, EditConfig(num_steps=4, strength=0.5))
    assert all(t != s.background for t, s in zip(targets, renders.scenes, strict=True))
    assert edits.shape == (2, 3, 64, 64)
    assert float((edits - round_trip(model, renders.images)).abs().mean()) > 0.01
