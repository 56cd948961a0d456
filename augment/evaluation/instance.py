"""The instance table of the benchmark: what edits keep of the very object that was there, and what they reach."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from augment.editing import EditConfig, Objects, edit, image_to_image, text_to_image
from augment.editing.config import PlainEditConfig, Preserve
from augment.editing.inverted import checked_schedule
from augment.editing.preserve.blend import share_of_steps
from augment.evaluation.instance_scores import InstanceScores, Judges, score_instances
from augment.evaluation.pool import InversionMethod
from augment.models.interface import LatentDiffusion
from augment.seeding import seed_for
from augment.tiny.captions import ANYTHING
from augment.tiny.instance_tracks import TRACKS, Track, TrackName, make_track
from augment.tiny.recognise import round_trip
from augment.tiny.world import object_mask

LEADS = ("displacement_px", "object_kept", "flip_kept", "mask_iou", "appearance_change")


class Settings(BaseModel):
    """Strengths and guidance scales of a row, each combined with each."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    strengths: tuple[float, ...] = Field(default=(), description="shares of the schedule; empty: the section's")
    guidance_scales: tuple[float, ...] = Field(default=(), description="of the edit; empty: the section's")

    def variants(self, settings: EditConfig) -> Iterator[EditConfig]:
        """Return the section's settings with each combination in their place."""
        strengths = self.strengths or (settings.strength,)
        for strength, scale in itertools.product(strengths, self.guidance_scales or (settings.guidance_scale,)):
            yield EditConfig(**settings.model_dump() | {"strength": strength, "guidance_scale": scale})


class InstanceMethod(Settings, InversionMethod):
    """Edits by inversion."""

    inversion_guidance_scale: float = Field(default=1.0, ge=1, description="guidance while inverting")
    preserve: tuple[Preserve, ...] = Field(
        default=("none",), min_length=1, description="modes, each a row; `mask` gets the true one, which no user has"
    )
    self_replace_steps: tuple[float, ...] = Field(
        default=(0.0,), min_length=1, description="shares of the steps, each combined with each mode"
    )


class InstanceFreshNoise(Settings):
    """Edits by image to image: fresh noise instead of an inversion (SDEdit)."""


class InstanceSection(BaseModel):
    """Edits of rendered scenes whose truth is known, read by networks trained on renders."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    settings: PlainEditConfig = Field(description="settings of every row; what a row says is its own")
    tracks: tuple[TrackName, ...] = Field(default=TRACKS, min_length=1, description="what is asked")
    num_scenes: int = Field(default=208, ge=2, description="scenes of each track")
    methods: tuple[InstanceMethod, ...] = Field(min_length=1, description="solvers, with strengths and scales")
    image_to_image: tuple[InstanceFreshNoise, ...] = Field(
        default=(InstanceFreshNoise(),), description="rows without inversion"
    )
    text_to_image: bool = Field(default=True, description="a row from noise alone, which keeps nothing")


@dataclass(frozen=True)
class _Row:
    """What a row says about itself, how it edits images [B, 3, 64, 64], and whom its lead is measured over."""

    about: dict[str, Any]
    make: Callable[[Track, slice], tuple[Tensor, float]]


def check_instance(model: LatentDiffusion, section: InstanceSection) -> None:
    """Raise ModelError for a row that the model cannot run."""
    for row in (*section.methods, *section.image_to_image):
        for config in row.variants(section.settings):
            checked_schedule(model, config, "instance.settings")


def measure_instance(
    model: LatentDiffusion,
    section: InstanceSection,
    judges: Judges,
    batch_size: int,
    done: Callable[[list[dict[str, Any]], list[dict[str, Any]]], None] = lambda rows, leads: None,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the rows, each with 95 % intervals, and their leads over image to image and over DDIM inversion.

    A lead is the mean of paired differences over the scenes, at the same guidance scale and each strength. A track's
    first two rows are the renders themselves and the autoencoder's round trip: what the judges themselves get wrong.

    Args:
        done: called after every track with all rows and leads so far.
    """
    rows: list[dict[str, Any]] = []
    leads: list[dict[str, Any]] = []
    for name in section.tracks:
        track = make_track(name, section.num_scenes)
        scored: list[tuple[dict[str, Any], InstanceScores]] = []
        for row in _rows(model, section):
            began, parts, evaluations = time.perf_counter(), [], []
            for start in range(0, len(track), batch_size):
                pictures, cost = row.make(track, slice(start, start + batch_size))
                parts.append(pictures)
                evaluations.append(cost * len(pictures))
            seconds = time.perf_counter() - began
            scores = score_instances(track, torch.cat(parts), judges)
            about = {"track": name, **row.about, "n": len(track)}
            about |= {"evaluations_per_edit": sum(evaluations) / len(track), "seconds_per_edit": seconds / len(track)}
            for measure, estimate in scores.estimates().items():
                about |= estimate.named(measure)
            rows.append(about | {"sharpness": scores.sharpness})
            scored.append((about, scores))
        leads += _leads(scored)
        done(rows, leads)
    return rows, leads


def _rows(model: LatentDiffusion, section: InstanceSection) -> Iterator[_Row]:
    yield _Row({"method": "render"}, lambda track, chunk: (track.images[chunk], 0.0))
    yield _Row({"method": "round_trip"}, lambda track, chunk: (round_trip(model, track.images[chunk]), 0.0))
    for method in section.methods:
        for config in method.variants(section.settings):
            of_method = {
                "solver": method.solver,
                "warm_start": method.warm_start,
                "stop": method.stop,
                "inversion_guidance_scale": method.inversion_guidance_scale,
            }
            full = config.model_copy(update=of_method)
            about = {
                "method": method.solver.name,
                "solver": {"name": method.solver.name, **method.settings},
                "warm_start": method.warm_start,
                "stop": method.stop.model_dump(),
                "inversion_guidance_scale": method.inversion_guidance_scale,
            }
            for mode, replaced in itertools.product(method.preserve, method.self_replace_steps):
                kept = {"preserve": mode, "self_replace_steps": replaced}
                yield _Row(about | _settings(config) | kept, _inverting(model, full.model_copy(update=kept)))
    for fresh in section.image_to_image:
        for config in fresh.variants(section.settings):
            yield _Row({"method": "image_to_image"} | _settings(config), _fresh(model, config))
    if section.text_to_image:
        config = section.settings.model_copy(update={"strength": 1.0})
        yield _Row({"method": "text_to_image"} | _settings(config), _from_noise(model, config))


def _settings(config: EditConfig) -> dict[str, Any]:
    return {"strength": config.strength, "guidance_scale": config.guidance_scale}


def _sampled(model: LatentDiffusion, config: EditConfig) -> float:
    """Return the evaluations of sampling one edit, those of its source beside it included."""
    steps = len(checked_schedule(model, config, "instance.settings").last_part(config.strength))
    strongest = config.strongest_guidance(config.guidance_scale)
    beside = share_of_steps(steps, max(config.self_replace_steps, config.cross_replace_steps))
    beside += int(config.preserve == "difference") * 2  # of its source, and its own without guidance
    return float(steps * model.denoiser(model.embed([""]), strongest).evaluations + beside)


def _inverting(model: LatentDiffusion, config: EditConfig) -> Callable[[Track, slice], tuple[Tensor, float]]:
    cost = _sampled(model, config)

    def make(track: Track, chunk: slice) -> tuple[Tensor, float]:
        wanted = [[prompt] for prompt in track.target_prompts[chunk]]
        sources = track.source_prompts[chunk]
        scenes = track.sources[chunk]
        result = edit(
            model,
            track.images[chunk],
            sources,
            wanted,
            config,
            seeds=_seeds(track, chunk),
            objects=Objects(
                words=[ANYTHING[0] if track.name == "unknown" else scene.object for scene in scenes],
                masks=torch.from_numpy(np.stack([object_mask(scene) for scene in scenes]))[:, None],
            ),
        )
        return torch.cat(result.edits), sum(result.evaluations) / len(sources) + cost

    return make


def _fresh(model: LatentDiffusion, config: EditConfig) -> Callable[[Track, slice], tuple[Tensor, float]]:
    cost = _sampled(model, config)

    def make(track: Track, chunk: slice) -> tuple[Tensor, float]:
        prompts = track.target_prompts[chunk]
        return image_to_image(model, track.images[chunk], prompts, _seeds(track, chunk), config), cost

    return make


def _from_noise(model: LatentDiffusion, config: EditConfig) -> Callable[[Track, slice], tuple[Tensor, float]]:
    cost = _sampled(model, config)

    def make(track: Track, chunk: slice) -> tuple[Tensor, float]:
        return text_to_image(model, track.target_prompts[chunk], _seeds(track, chunk), config), cost

    return make


def _seeds(track: Track, chunk: slice) -> list[int]:
    return [seed_for("instance", track.name, i) for i in range(*chunk.indices(len(track)))]


def _leads(scored: list[tuple[dict[str, Any], InstanceScores]]) -> list[dict[str, Any]]:
    """Return, for every edited row, its lead over image to image and over plain DDIM inversion, at each strength."""
    of_method = ("method", "solver", "warm_start", "stop", "preserve", "self_replace_steps")
    own = ("track", *of_method, "strength", "guidance_scale")
    leads = []
    for about, scores in scored:
        for against, reference in scored:
            is_ddim = against["method"] == "ddim" and against["warm_start"] == "none"
            is_plain = is_ddim and against["preserve"] == "none" and not against["self_replace_steps"]
            is_reference = is_plain or against["method"] == "image_to_image"
            if against is about or not is_reference or about.get("guidance_scale") != against["guidance_scale"]:
                continue
            for measure in LEADS:
                if (lead := scores.lead_over(reference, measure)) is None:
                    continue
                what = {k: about[k] for k in own if k in about}
                over = {"over": against["method"], "over_strength": against["strength"], "measure": measure}
                leads.append(what | over | lead.named("lead"))
    return leads
