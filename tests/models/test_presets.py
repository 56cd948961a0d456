"""The settings that ship for model families, and which of them a model gets."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from augment.editing.config import EditConfig
from augment.errors import ModelError
from augment.models.files import PIPELINES
from augment.models.presets import preset_of, presets

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text()


def test_every_family_has_one_that_can_be_used() -> None:
    assert set(presets()) == {
        *("embedded", "embedded-lcm", "sd15", "sd21", "sdxl", "sdxl-turbo", "sd-turbo", "lcm", "sd3", "flux-schnell"),
    }
    assert {preset.family for preset in presets().values()} == set(PIPELINES)
    for preset in presets().values():
        settings = EditConfig.model_validate(preset.editing)
        assert 1 <= round(settings.num_steps * settings.strength) < settings.num_steps
        assert preset.image_size % 64 == 0
        assert preset.grid or preset.device == "cuda"


@pytest.mark.parametrize(
    ("model", "same_as"),
    [
        ("sdxl-turbo", "sdxl-turbo"),
        ("stabilityai/sdxl-turbo", "sdxl-turbo"),
        ("embedded-lcm", "embedded-lcm"),
        ("someone/my-sdxl-turbo-dogs", "sdxl-turbo"),
        ("someone/dogs-xl", "sdxl"),
        ("someone/FLUX-dogs", "flux-schnell"),
        ("someone/dogs", "sd15"),
        ("stabilityai/stable-diffusion-3.5-medium", "sd3"),
    ],
)
def test_by_name(model: str, same_as: str) -> None:
    preset, note = preset_of(model)
    guessed = model not in (same_as, presets()[same_as].name)
    assert preset == presets()[same_as].model_copy(update={"name": model} if guessed else {})
    assert ("guessed from its name" in note) == guessed


def folder(root: Path, pipeline: str, scheduler: str = "DDIMScheduler", latents: int = 32) -> Path:
    for name, content in {
        "model_index.json": {"_class_name": pipeline},
        "vae/config.json": {"block_out_channels": [8, 8, 8]},
        "unet/config.json": {"sample_size": latents},
        "scheduler/scheduler_config.json": {"_class_name": scheduler},
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(json.dumps(content))
    return root


@pytest.mark.parametrize(
    ("pipeline", "scheduler", "same_as"),
    [
        ("StableDiffusionPipeline", "PNDMScheduler", "sd15"),
        ("StableDiffusionPipeline", "EulerAncestralDiscreteScheduler", "sd-turbo"),
        ("StableDiffusionXLPipeline", "EulerDiscreteScheduler", "sdxl"),
        ("StableDiffusionXLPipeline", "EulerAncestralDiscreteScheduler", "sdxl-turbo"),
        ("LatentConsistencyModelPipeline", "LCMScheduler", "lcm"),
    ],
)
def test_of_a_folder(tmp_path: Path, pipeline: str, scheduler: str, same_as: str) -> None:
    path = str(folder(tmp_path / "model", pipeline, scheduler))
    preset, note = preset_of(path)
    assert preset == presets()[same_as].model_copy(update={"name": path, "image_size": 32 * 4})
    assert note.endswith(f"are those of {same_as}, the family of its pipeline")


def test_what_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none of embedded, .*; did you mean 'sd15'\?"):
        preset_of("sd-15")
    with pytest.raises(ModelError, match="it is a PixArtAlphaPipeline, which is not supported"):
        preset_of(str(folder(tmp_path / "model", "PixArtAlphaPipeline")))


def test_the_documentation_has_their_settings() -> None:
    rows = re.findall(
        r"^\| `([\w-]+)` \| `([^`]+)` \| (\d+) \| (\S.*?) \| (\d+) \| (\S+) \| (\S+) \|$", PAGE, re.MULTILINE
    )
    settings = {name: preset.editing for name, preset in presets().items()}
    assert rows == [
        (
            name,
            preset.name,
            str(preset.image_size),
            f"`{settings[name]['sampler']}`" if "sampler" in settings[name] else "its own",
            *(str(settings[name][key]) for key in ("num_steps", "strength", "guidance_scale")),
        )
        for name, preset in presets().items()
    ]
