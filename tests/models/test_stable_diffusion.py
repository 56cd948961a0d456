"""The Stable Diffusion family against diffusers' own pipeline, at toy size."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, PNDMScheduler

from augment.diffusion import sample
from augment.editing import EditConfig, edit
from augment.errors import ModelError
from augment.inversion import (
    SOLVERS,
    Anderson,
    Stop,
    invert,
    make_solver,
)
from augment.models.config import ModelConfig, pinned
from augment.models.load import load_model
from augment.models.stable_diffusion import StableDiffusion
from tests.pipelines import stable_diffusion
from tests.variants import variants

PROMPTS = ["a picture of a fox", "an owl"]


def wrap(pipeline):
    return StableDiffusion(pipeline, model_id="toy", revision="")


def noise(count=2):
    return torch.randn(count, 4, 8, 8, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_sampling_equals_the_diffusers_pipeline(prediction_type, spacing, guidance_scale):
    pipeline = stable_diffusion(prediction_type, spacing)
    theirs = pipeline(
        PROMPTS, latents=noise(), num_inference_steps=5, guidance_scale=guidance_scale, output_type="latent"
    ).images
    model = wrap(pipeline)
    denoiser = model.denoiser(model.embed(PROMPTS), guidance_scale)
    ours = sample(denoiser, noise(), model.noise_schedule.table(5, "ddim", joints="diffusers"))
    assert torch.linalg.vector_norm(ours - theirs) <= 1e-5 * torch.linalg.vector_norm(theirs)


def test_encode_is_the_mode_and_decode_its_range():
    pipeline = stable_diffusion()
    model = wrap(pipeline)
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        expected = pipeline.vae.encode(images).latent_dist.mode() * pipeline.vae.config.scaling_factor
    torch.testing.assert_close(model.encode(images), expected)
    decoded = model.decode(expected * 1e3)
    assert decoded.shape == images.shape and decoded.abs().max() <= 1.0


def test_image_size_comes_from_the_unet_and_the_factor_of_the_autoencoder():
    assert wrap(stable_diffusion()).image_size == 16


def test_embeddings_of_repeated_prompts_are_in_order():
    model = wrap(stable_diffusion())
    repeated = model.embed(["an owl", "a fox", "an owl"])
    torch.testing.assert_close(repeated.tokens[0], repeated.tokens[2])
    torch.testing.assert_close(repeated.tokens[1:2], model.embed(["a fox"]).tokens)
    assert not torch.allclose(repeated.tokens[0], repeated.tokens[1])


def test_inverting_a_generated_picture_finds_noise_that_regenerates_it():
    model = wrap(stable_diffusion(timestep_spacing="trailing"))
    denoiser, schedule = model.denoiser(model.embed(PROMPTS)), model.schedule(6, "ddim")
    clean = sample(denoiser, noise(), schedule)
    inversion = invert(denoiser, clean, schedule, Anderson(), Stop(max_steps=30, tolerance=1e-6))
    again = sample(denoiser, inversion.latents, schedule)
    assert torch.linalg.vector_norm(again - clean) <= 1e-3 * torch.linalg.vector_norm(clean)


@pytest.mark.parametrize(
    ("scheduler", "timesteps", "diffusers_ends_clean"),
    [
        # Stable Diffusion 1.5 and 2.1 are saved with PNDM or DDIM, sd-turbo with Euler
        (PNDMScheduler(steps_offset=1, set_alpha_to_one=False, skip_prk_steps=True), [751, 501, 251, 1], False),
        (DDIMScheduler(steps_offset=1, set_alpha_to_one=False), [751, 501, 251, 1], False),
        (EulerDiscreteScheduler(timestep_spacing="trailing"), [999, 749, 499, 249], True),
        (EulerDiscreteScheduler(timestep_spacing="linspace"), [999, 749, 499, 249], True),
    ],
    ids=["pndm", "ddim", "euler trailing", "euler linspace"],
)
def test_schedules_of_checkpoints_saved_with_other_schedulers(scheduler, timesteps, diffusers_ends_clean):
    pipeline = stable_diffusion()
    pipeline.scheduler = scheduler
    if diffusers_ends_clean:
        scheduler.register_to_config(set_alpha_to_one=False)  # sd-turbo's config has it; Euler never reads it
    model = wrap(pipeline)
    ours, theirs = model.schedule(4, "ddim"), model.noise_schedule.table(4, "ddim", joints="diffusers")
    for schedule, ends_clean in ((ours, True), (theirs, diffusers_ends_clean)):
        assert [s.timestep for s in schedule.steps] == timesteps
        last = schedule.steps[-1]
        noise_left = last.b + last.a * last.start.noise  # of the prediction, after the last step
        assert (abs(noise_left) < 1e-9) == ends_clean


def edit_config(solver, **stop):
    return EditConfig(num_steps=5, strength=0.8, guidance_scale=1.0, solver={"name": solver}, stop=stop)


def test_editing_with_the_source_prompt_and_no_guidance_reconstructs():
    model = wrap(stable_diffusion(timestep_spacing="trailing"))
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    targets = [[PROMPTS[0], "a picture of snow"], [PROMPTS[1]]]
    result = edit(model, images, PROMPTS, targets, edit_config("anderson", max_steps=30, tolerance=1e-5))
    round_trip = model.decode(model.encode(images))
    assert [len(e) for e in result.edits] == [2, 1]
    for same_prompt, expected in zip((result.edits[0][0], result.edits[1][0]), round_trip, strict=True):
        torch.testing.assert_close(same_prompt, expected, rtol=0, atol=1e-3)
    assert not torch.allclose(result.edits[0][1], round_trip[0], atol=1e-2)
    assert result.psnr == pytest.approx(result.vae_psnr, abs=0.01)
    assert result.status == ["converged"] * 2
    inexact = edit(model, images, PROMPTS, targets, edit_config("ddim"))
    assert not torch.allclose(inexact.edits[0][0], round_trip[0], atol=1e-3)


@pytest.mark.parametrize("name", variants(SOLVERS, kept=["anderson", "ddim", "renoise", "rnri"]))
def test_inversion_does_not_depend_on_batch_mates(name):
    model = wrap(stable_diffusion(timestep_spacing="trailing"))
    clean, embeds, schedule = noise(3), model.embed(["a fox", "an owl", "snow"]), model.schedule(5, "ddim")
    stop = Stop(max_steps=2, first_max_steps=4, tolerance=1e-3)
    solver = make_solver(name, **({"krylov_dim": 2} if name == "newton_krylov" else {}))  # each is a derivative
    together = invert(model.denoiser(embeds), clean, schedule, solver, stop)
    for i in range(3):
        alone = invert(model.denoiser(embeds.select(slice(i, i + 1))), clean[i : i + 1], schedule, solver, stop)
        difference = torch.linalg.vector_norm(together.latents[i] - alone.latents[0])
        assert difference <= 1e-5 * torch.linalg.vector_norm(alone.latents[0])
        assert together.forward[i] == alone.forward[0]


def test_editing_does_not_depend_on_batch_mates():
    model = wrap(stable_diffusion())
    images = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    targets = [["an owl", "snow"], [], ["a fox"]]
    config = EditConfig(num_steps=4, strength=1.0)
    together = edit(model, images, ["a fox"] * 3, targets, config)
    for i in range(3):
        alone = edit(model, images[i : i + 1], ["a fox"], [targets[i]], config)
        torch.testing.assert_close(together.edits[i], alone.edits[0], rtol=0, atol=5e-4)
        assert together.psnr[i] == pytest.approx(alone.psnr[0], abs=1e-3)


def test_editing_wants_one_list_of_prompts_per_image():
    with pytest.raises(ValueError, match="2 images, 1 source prompts and 2 lists"):
        edit(wrap(stable_diffusion()), torch.zeros(2, 3, 16, 16), ["a fox"], [[], []], EditConfig())


def test_a_saved_pipeline_loads_by_its_folder(tmp_path):
    pipeline = stable_diffusion()
    pipeline.save_pretrained(tmp_path / "model")
    model = load_model(ModelConfig(name=str(tmp_path / "model")))
    torch.testing.assert_close(model.embed(PROMPTS).tokens, wrap(pipeline).embed(PROMPTS).tokens)
    assert model.model_id == str(tmp_path / "model")


def test_models_that_cannot_be_loaded_say_why(tmp_path):
    with pytest.raises(ModelError, match=r"no model_index\.json"):
        load_model(ModelConfig(name=str(tmp_path)))
    (tmp_path / "model_index.json").write_text('{"_class_name": "KandinskyPipeline"}')
    with pytest.raises(ModelError, match=r"KandinskyPipeline, which is not supported; supported are StableDiff"):
        load_model(ModelConfig(name=str(tmp_path)))
    with pytest.raises(ModelError, match="no such folder"):
        load_model(ModelConfig(name="./nowhere"))
    with pytest.raises(ModelError, match=r"hf download stabilityai/absent"):
        load_model(ModelConfig(name="stabilityai/absent"))


def test_the_revision_of_a_folder_is_that_of_its_weights(tmp_path):
    stable_diffusion(seed=0).save_pretrained(tmp_path / "model")
    before = pinned(ModelConfig(name=str(tmp_path / "model")))
    assert pinned(before) == before
    assert load_model(before).revision == before.revision != ""
    stable_diffusion(seed=1).save_pretrained(tmp_path / "model")
    assert pinned(ModelConfig(name=before.name)).revision != before.revision
    with pytest.raises(ModelError, match=f"{before.revision!r} was asked for"):
        pinned(before)


@pytest.mark.skipif(torch.cuda.is_available(), reason="the message is for machines without a GPU")
def test_a_missing_gpu_is_explained():
    with pytest.raises(ModelError, match="no CUDA GPU"):
        load_model(ModelConfig(device="cuda"))


def test_an_unknown_sampler_is_refused():
    with pytest.raises(ValueError, match="there are ddim, euler, euler_ancestral, lcm"):
        wrap(stable_diffusion()).schedule(4, "heun")
