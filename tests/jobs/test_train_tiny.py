"""The recipe at toy size, end to end: every part is trained for a step or two, written, loaded, and resumed."""

from __future__ import annotations

import shutil

import pytest
import torch
import yaml

from augment.models.config import ModelConfig
from augment.models.load import load_model
from augment.tiny.networks import LATENT_CHANNELS, load_vae
from augment.tiny.training import TrainConfig
from jobs.train_tiny import STAGES, train
from tests.run.runs import ROOT

TOY = {"steps": 2, "batch_size": 4, "learning_rate": 1.0e-3, "warmup": 1}


pytestmark = pytest.mark.usefixtures("emoji_font")


def toy_config(folder, **changes):
    parts = dict.fromkeys(("glyphs", "decoder", *STAGES), TOY)
    values = {"work_dir": folder / "work", "output_dir": folder / "weights", "num_scenes": 24, "checkpoint_every": 1}
    values |= {"vae_terms": {"edges": 0.03, "perceptual": 0.05}}
    return TrainConfig.model_validate(parts | values | changes)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_every_stage_end_to_end(tmp_path):
    config = toy_config(tmp_path)
    train(config)
    weights = tmp_path / "weights"
    assert {p.name for p in weights.iterdir()} == {"vae", "judge", "clip", "pipeline", "student", "revision.txt"}
    model = load_model(ModelConfig(name=str(weights / "pipeline")))
    images = torch.zeros(2, 3, 64, 64)
    assert model.encode(images).shape == (2, LATENT_CHANNELS, 8, 8)
    assert model.decode(model.encode(images)).shape == (2, 3, 64, 64)
    revision = (weights / "revision.txt").read_text()
    train(config)  # every stage resumes from its last checkpoint, and has nothing left to do
    assert (weights / "revision.txt").read_text() == revision


def test_the_decoder_is_trained_on_alone(tmp_path):
    train(toy_config(tmp_path, decoder=None), ("vae",))
    before = load_vae(tmp_path / "weights" / "vae").state_dict()
    train(toy_config(tmp_path), ("vae",))  # the autoencoder's checkpoint is taken as it is
    after = load_vae(tmp_path / "weights" / "vae").state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(name.startswith(("decoder.", "post_quant_conv.")) for name in changed)


@pytest.mark.slow
def test_a_finished_autoencoder_is_taken_as_it_is(tmp_path):
    train(toy_config(tmp_path / "one"), ("vae",))
    finished = tmp_path / "finished"
    shutil.copytree(tmp_path / "one" / "weights" / "vae", finished)
    train(toy_config(tmp_path / "two", vae_from=finished), ("vae", "unet"))
    assert not (tmp_path / "two" / "work" / "vae.pt").exists()
    taken = load_vae(tmp_path / "two" / "weights" / "pipeline" / "vae")
    for name, tensor in load_vae(finished).state_dict().items():
        assert torch.equal(tensor, taken.state_dict()[name])
    assert taken.config.scaling_factor != load_vae(finished).config.scaling_factor  # of the latents it was measured on


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "train").glob("*.yaml")), ids=lambda p: p.stem)
def test_the_shipped_configs_are_valid(path):
    config = TrainConfig.model_validate(yaml.safe_load(path.read_text()))
    assert config.vae_from is None or (ROOT / config.vae_from).is_dir()
