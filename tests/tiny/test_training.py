"""The training loop: deterministic, resumable, with the losses it says it has."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from augment.tiny import stages
from augment.tiny.caption_tokens import CaptionTable
from augment.tiny.captions import vocabulary
from augment.tiny.networks import (
    LATENT_CHANNELS,
    build_scheduler,
    build_text_encoder,
    build_tokenizer,
    build_unet,
    build_vae,
)
from augment.tiny.training import (
    StageConfig,
    StepRandom,
    TrainConfig,
    learning_rate,
    train_stage,
)
from augment.tiny.world import CLASSES

STAGE = StageConfig(steps=8, batch_size=4, learning_rate=1e-2, warmup=2, ema_decay=0.9)


def train_config(folder, **changes):
    values = {"work_dir": folder, "output_dir": folder, "num_scenes": 4, "checkpoint_every": 3}
    stages_ = dict.fromkeys(("vae", "judge", "clip", "unet", "student"), STAGE)
    return TrainConfig(**(values | stages_ | changes))


def regression(model, random, batch_size):
    x = random.normal(batch_size, 3)
    return (model(x) - x.sum(dim=1, keepdim=True)).square().mean()


def linear():
    torch.manual_seed(0)
    return nn.Linear(3, 1)


def weights(model):
    return torch.cat([p.flatten() for p in model.parameters()])


def test_an_interrupted_run_ends_where_an_undisturbed_one_does(tmp_path):
    undisturbed = train_stage("a", linear(), regression, STAGE, train_config(tmp_path / "one"))

    def breaks(model, random, batch_size):
        if len(list((tmp_path / "two").glob("a.pt"))) and not breaks.broken:
            breaks.broken = True
            raise KeyboardInterrupt
        return regression(model, random, batch_size)

    breaks.broken = False
    with pytest.raises(KeyboardInterrupt):
        train_stage("a", linear(), breaks, STAGE, train_config(tmp_path / "two"))
    resumed = train_stage("a", linear(), breaks, STAGE, train_config(tmp_path / "two"))
    assert torch.equal(weights(resumed), weights(undisturbed))
    assert not torch.equal(weights(resumed), weights(linear()))


def test_a_checkpoint_of_other_settings_is_not_resumed(tmp_path):
    train_stage("a", linear(), regression, STAGE, train_config(tmp_path))
    longer = STAGE.model_copy(update={"steps": 20})
    with pytest.raises(ValueError, match="made with other settings"):
        train_stage("a", linear(), regression, longer, train_config(tmp_path))
    with pytest.raises(ValueError, match="made with other settings"):
        train_stage("a", linear(), regression, STAGE, train_config(tmp_path, seed=1))
    with pytest.raises(ValueError, match="made with other settings"):
        train_stage("a", linear(), regression, STAGE, train_config(tmp_path), upstream="another autoencoder")


def test_another_seed_trains_another_model(tmp_path):
    one = train_stage("a", linear(), regression, STAGE, train_config(tmp_path / "one"))
    two = train_stage("a", linear(), regression, STAGE, train_config(tmp_path / "two", seed=1))
    assert not torch.equal(weights(one), weights(two))


def test_the_average_forgets_the_first_weights(tmp_path):
    stage = STAGE.model_copy(update={"steps": 300, "learning_rate": 3e-2, "ema_decay": 0.98})
    model = linear()
    average = train_stage("a", model, regression, stage, train_config(tmp_path))
    torch.testing.assert_close(average.weight, torch.ones(1, 3), atol=0.05, rtol=0)


def test_learning_rate_warms_up_and_ends_at_zero():
    stage = StageConfig(steps=102, batch_size=1, learning_rate=2.0, warmup=2)
    assert [learning_rate(stage, s) for s in (0, 1, 2)] == pytest.approx([1.0, 2.0, 2.0])
    assert learning_rate(stage, 52) == pytest.approx(1.0)
    assert learning_rate(stage, 102) == pytest.approx(0.0, abs=1e-9)


def test_random_numbers_depend_on_seed_stage_and_step_only():
    def draw(*arguments):
        random = StepRandom(*arguments)
        return random.uniform(1).tolist(), random.normal(2).tolist(), random.integers(0, 99, 2).tolist()

    assert draw(0, "vae", 5) == draw(0, "vae", 5)
    assert len({str(draw(*a)) for a in [(0, "vae", 5), (1, "vae", 5), (0, "unet", 5), (0, "vae", 6)]}) == 4


def scene_cache(count=6):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)
    return stages.SceneCache(torch.from_numpy(images), torch.from_numpy(rng.integers(0, 4, (count, 5))))


def still(latents):
    """Latents that the encoder is sure of."""
    return stages.SceneLatents(latents.half(), torch.zeros_like(latents).half())


def test_latents_are_drawn_from_what_the_encoder_says():
    mean, std = torch.randn(3, 24, 8, 8).half(), torch.rand(3, 24, 8, 8).half()
    latents = stages.SceneLatents(mean, std)
    indices = torch.tensor([2]).repeat(4000)
    drawn = latents.draw(indices, StepRandom(0, "unet", 0))
    torch.testing.assert_close(drawn.mean(0), mean[2].float(), atol=0.08, rtol=0)
    torch.testing.assert_close(drawn.std(0), std[2].float(), atol=0.08, rtol=0)


def test_encoded_scenes_have_unit_means_and_the_encoders_spread():
    vae, cache = build_vae(), scene_cache()
    latents = stages.encode_scenes(vae, cache, batch_size=4)
    with torch.no_grad():
        posterior = vae.encode(cache.pixels(torch.arange(6))).latent_dist
    assert float(latents.mean.float().std()) == pytest.approx(1.0, abs=1e-3)
    ratio = 1 / float(posterior.mean.std())
    assert latents.factor == pytest.approx(ratio, rel=0.02)  # encoded in bfloat16
    torch.testing.assert_close(latents.std.float(), posterior.std * latents.factor, rtol=0.05, atol=0.02)
    assert stages.encode_scenes(vae, cache, factor=2.0).factor == 2.0
    wide = stages.encode_scenes(vae, cache, least_std=0.75)
    assert torch.equal(wide.std, stages.encode_scenes(vae, cache).std.clamp_min(0.75))


def test_noise_prediction_loss_has_min_snr_weights():
    cache, scheduler = scene_cache(), build_scheduler()
    loss = stages.unet_loss(
        still(torch.zeros(6, 16, 8, 8)),
        cache,
        build_tokenizer(["a"]),
        scheduler,
        caption_dropout=0.0,
        snr_gamma=5.0,
    )

    class PredictsNoise(nn.Module):
        """Latents are zero, so the noise is the input over sqrt(1 - alpha); `scale` spoils it."""

        def forward(self, latents, timesteps, ids):
            alpha = scheduler.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
            self.snr = (alpha / (1 - alpha)).flatten()
            self.noise = latents / (1 - alpha).sqrt()
            return self.noise * self.scale

    model = PredictsNoise()
    model.scale = 1.0
    assert float(loss(model, StepRandom(0, "unet", 0), 64)) == pytest.approx(0.0, abs=1e-9)
    model.scale = 0.0
    value = float(loss(model, StepRandom(0, "unet", 0), 64))
    weight = torch.minimum(model.snr, torch.tensor(5.0)) / model.snr
    assert value == pytest.approx(float((weight * model.noise.square().mean(dim=(1, 2, 3))).mean()), rel=1e-5)


def test_clip_loss_counts_pictures_with_equal_attributes_as_positives():
    cache = scene_cache()
    cache.labels[:] = 1  # every pair matches, so every pairing is right and the loss is the entropy of the targets

    class Uniform(nn.Module):
        def forward(self, input_ids, pixel_values):
            self.logits_per_image = torch.zeros(len(input_ids), len(input_ids))
            return self

    value = stages.clip_loss(cache, build_tokenizer(["a"]))(Uniform(), StepRandom(0, "clip", 0), 5)
    assert float(value) == pytest.approx(float(np.log(5)), rel=1e-6)


def test_captions_are_of_the_grammar_and_name_the_picture():
    tokenizer = build_tokenizer(vocabulary(CLASSES))
    labels = torch.tensor([[2, 1, 1, 0, 0], [len(CLASSES), 3, 0, 0, 0]]).repeat_interleave(200, 0)
    ids = CaptionTable(tokenizer, "cpu").draw(labels, StepRandom(0, "unet", 0))
    captions = tokenizer.batch_decode(ids, skip_special_tokens=True)
    assert all("penguin" in text and "snow" in text and "night" in text for text in captions[:200])
    assert all("penguin" not in text and "ocean" in text for text in captions[200:])
    assert {"a penguin on snow at night", "a photo of a penguin in the snow at night"} <= set(captions)


def test_shares_of_captions_are_empty_or_without_the_word():
    tokenizer = build_tokenizer(vocabulary(CLASSES))
    table, labels = CaptionTable(tokenizer, "cpu"), torch.zeros(400, 3, dtype=torch.int64)
    ids = table.draw(labels, StepRandom(0, "unet", 0), dropout=0.25, anonymous=0.5)
    captions = tokenizer.batch_decode(ids, skip_special_tokens=True)
    assert 70 <= captions.count("") <= 130
    assert 110 <= sum("fox" in text for text in captions) <= 190
    assert torch.equal(ids[captions.index("")], table.empty)
    assert (table.draw(labels, StepRandom(0, "unet", 0)) != table.empty).any(dim=1).all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_recorded_step_is_the_step(tmp_path):
    tokenizer, labels = build_tokenizer(vocabulary(CLASSES)), torch.zeros(6, 5, dtype=torch.int64)
    cache = stages.SceneCache(torch.zeros(6, 64, 64, 3, dtype=torch.uint8), labels).to("cuda")
    latents = still(torch.randn(6, LATENT_CHANNELS, 8, 8, generator=torch.Generator().manual_seed(0)).cuda())
    trained = []
    for record in (True, False):
        torch.manual_seed(0)
        model = stages.ConditionedDenoiser(build_unet(), build_text_encoder(tokenizer))
        loss = stages.unet_loss(latents, cache, tokenizer, build_scheduler(), caption_dropout=0.1, snr_gamma=5.0)
        config = train_config(tmp_path / str(record), device="cuda", record=record)
        trained.append(weights(train_stage("unet", model, loss, STAGE, config)))
    torch.manual_seed(0)
    start = weights(stages.ConditionedDenoiser(build_unet(), build_text_encoder(tokenizer))).cuda()
    way, apart = trained[1] - start, trained[0] - trained[1]
    # Sums in another order: where a gradient is nearly zero, Adam's first steps go by its sign.
    assert float(apart.norm()) <= 0.03 * float(way.norm())


@pytest.mark.usefixtures("emoji_font")
def test_rendered_scenes_are_cached_and_repeatable(tmp_path):
    first = stages.render_scenes(tmp_path / "a", 5, seed=3)
    written = (tmp_path / "a" / "scenes-named-3-5.npy").stat().st_mtime_ns
    again = stages.render_scenes(tmp_path / "a", 5, seed=3)
    other = stages.render_scenes(tmp_path / "b", 5, seed=3)
    assert (tmp_path / "a" / "scenes-named-3-5.npy").stat().st_mtime_ns == written
    for cache in (again, other):
        assert torch.equal(cache.images, first.images) and torch.equal(cache.labels, first.labels)


@pytest.mark.usefixtures("emoji_font")
@pytest.mark.slow
def test_processes_render_what_one_renders(tmp_path, monkeypatch):
    alone = stages.render_scenes(tmp_path / "a", 5, seed=3, sampler="denoiser")
    monkeypatch.setattr(stages, "RENDER_CHUNK", 2)
    together = stages.render_scenes(tmp_path / "b", 5, seed=3, sampler="denoiser")
    assert torch.equal(together.images, alone.images) and torch.equal(together.labels, alone.labels)
    assert len(alone.images.flatten(1).unique(dim=0)) == 5


def test_residual_branches_of_the_untrained_autoencoder_are_zero():
    vae = build_vae()
    branches = [m for n, m in vae.named_modules() if n.endswith("conv2")]
    assert branches and all(float(m.weight.detach().abs().sum()) == 0 for m in branches)
    assert copy.deepcopy(vae).config.latent_channels == LATENT_CHANNELS
