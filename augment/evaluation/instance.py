"""The instance table of the benchmark: what edits keep of the very object that was there, and what they reach."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from augment.editing import EditConfig, Objects, edit, image_to_image, text_to_image
from augment.editing.config import PlainEditConfig, Preserve
from augment.editing.inverted import checked_schedule
from augment.editing.preserve.blend import share_of_steps
from augment.evaluation.instance_scores import InstanceScores, Judges, score_instances
from augment.inversion.settings import SolverSettings, Stop, WarmStart
from augment.models.interface import LatentDiffusion
from augment.seeding import seed_for
from augment.tiny.captions import ANYTHING
from augment.tiny.instance_tracks import TRACKS, Track, TrackName, make_track
from augment.tiny.recognise import round_trip
from augment.tiny.world import object_mask

Share = Annotated[float, Field(gt=0, le=1)]
ShareOrNone = Annotated[float, Field(ge=0, le=1)]
Scale = Annotated[float, Field(ge=1)]
KEPT = ("inversion_guidance_scale", "adjustment_strength", "preserve", "self_replace_steps", "cross_replace_steps")
LEADS = ("displacement_px", "object_kept", "flip_kept", "mask_iou", "appearance_change")


class Settings(BaseModel):
    """Strengths and guidance scales of a row, each combined with each."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    strengths: tuple[Share, ...] = Field(default=(), description="shares of the schedule; empty: the section's")
    guidance_scales: tuple[Scale, ...] = Field(default=(), description="of the edit; empty: the section's")

    def variants(self, settings: EditConfig) -> Iterator[EditConfig]:
        """Return the section's settings with each combination in their place."""
        strengths = self.strengths or (settings.strength,)
        for strength, scale in itertools.product(strengths, self.guidance_scales or (settings.guidance_scale,)):
            yield EditConfig(**settings.model_dump() | {"strength": strength, "guidance_scale": scale})


class InstanceMethod(Settings):
    """Edits by inversion: each mode that preserves with each share of replaced steps, at each strength and scale."""

    solver: SolverSettings = Field(description="`name`, and settings")
    warm_start: WarmStart | None = Field(default=None, description="first guess; null: the section's")
    stop: Stop | None = Field(default=None, description="iteration limits and tolerance; null: the section's")
    inversion_guidance_scale: Scale | None = Field(
        default=None, description="guidance while inverting; null: the section's"
    )
    preserve: tuple[Preserve, ...] = Field(
        default=(), description="modes; `mask` gets the true one, which no user has; empty: the section's"
    )
    self_replace_steps: tuple[ShareOrNone, ...] = Field(
        default=(), description="shares of the steps; empty: the section's"
    )

    def variants(self, settings: EditConfig) -> Iterator[EditConfig]:
        """Return the section's settings with this row's own, and each combination, in their place."""
        names = ("solver", "warm_start", "stop", "inversion_guidance_scale")
        own = {name: value for name in names if (value := getattr(self, name)) is not None}
        modes, shares = self.preserve or (settings.preserve,), self.self_replace_steps or (settings.self_replace_steps,)
        for config in super().variants(settings):
            for mode, share in itertools.product(modes, shares):
                kept: dict[str, Any] = {"preserve": mode, "self_replace_steps": share}
                if mode == "none":
                    kept["object_guidance_scale"] = None  # it needs the mask of a mode
                yield config.model_copy(update=own | kept)


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
    """What a row says about itself, and how it edits images [B, 3, 64, 64] and at how many evaluations for each."""

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
            about = {"track": name, **row.about, "n": len(track), "lost": scores.lost}
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
            about = {
                "method": config.solver.name,
                "solver": {"name": config.solver.name, **config.solver.model_dump(exclude_defaults=True)},
                "warm_start": config.warm_start,
                "stop": config.stop.model_dump(),
            }
            about |= config.model_dump(include=set(KEPT)) | _settings(config)
            yield _Row(about, _inverting(model, config))
    for fresh in section.image_to_image:
        for config in fresh.variants(section.settings):
            yield _Row({"method": "image_to_image"} | _settings(config), _fresh(model, config))
    if section.text_to_image:
        config = section.settings.model_copy(update={"strength": 1.0})
        yield _Row({"method": "text_to_image"} | _settings(config), _from_noise(model, config))


def _settings(config: EditConfig) -> dict[str, Any]:
    return {"strength": config.strength, "guidance_scale": config.guidance_scale}


def _cost_of_sampling(model: LatentDiffusion, config: EditConfig) -> float:
    """Return the evaluations of sampling one picture."""
    return float(_num_steps(model, config) * _evaluations(model, config.guidance_scale))


def _cost_of_editing(model: LatentDiffusion, config: EditConfig) -> float:
    """Return the evaluations of sampling one edit of inverted pictures, those of its source beside it included."""
    steps = _num_steps(model, config)
    of_edit = steps * _evaluations(model, config.strongest_guidance(config.guidance_scale))
    replaced = share_of_steps(steps, max(config.self_replace_steps, config.cross_replace_steps))
    of_source = replaced * _evaluations(model, config.inversion_guidance_scale)
    of_mask = 2 if config.preserve == "difference" else 0  # source and edit, both without guidance
    return float(of_edit + of_source + of_mask)


def _num_steps(model: LatentDiffusion, config: EditConfig) -> int:
    return len(checked_schedule(model, config, "instance.settings").last_part(config.strength))


def _evaluations(model: LatentDiffusion, guidance_scale: float) -> int:
    """Return how often the network is evaluated for each picture in one step."""
    return model.denoiser(model.embed([""]), guidance_scale).evaluations


def _inverting(model: LatentDiffusion, config: EditConfig) -> Callable[[Track, slice], tuple[Tensor, float]]:
    cost = _cost_of_editing(model, config)

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
    cost = _cost_of_sampling(model, config)

    def make(track: Track, chunk: slice) -> tuple[Tensor, float]:
        prompts = track.target_prompts[chunk]
        return image_to_image(model, track.images[chunk], prompts, _seeds(track, chunk), config), cost

    return make


def _from_noise(model: LatentDiffusion, config: EditConfig) -> Callable[[Track, slice], tuple[Tensor, float]]:
    cost = _cost_of_sampling(model, config)

    def make(track: Track, chunk: slice) -> tuple[Tensor, float]:
        return text_to_image(model, track.target_prompts[chunk], _seeds(track, chunk), config), cost

    return make


def _seeds(track: Track, chunk: slice) -> list[int]:
    return [seed_for("instance", track.name, i) for i in range(*chunk.indices(len(track)))]


def _leads(scored: list[tuple[dict[str, Any], InstanceScores]]) -> list[dict[str, Any]]:
    """Return, for every edited row, its lead over image to image and over plain DDIM inversion, at each strength."""
    own = ("track", "method", "solver", "warm_start", "stop", *KEPT, "strength", "guidance_scale")
    leads = []
    for about, scores in scored:
        for against, reference in scored:
            is_reference = _is_plain_ddim(against) or against["method"] == "image_to_image"
            if against is about or not is_reference or about.get("guidance_scale") != against["guidance_scale"]:
                continue
            for measure in LEADS:
                if (lead := scores.lead_over(reference, measure)) is None:
                    continue
                what = {k: about[k] for k in own if k in about}
                over = {"over": against["method"], "over_strength": against["strength"], "measure": measure}
                leads.append(what | over | lead.named("lead"))
    return leads


def _is_plain_ddim(about: dict[str, Any]) -> bool:
    """Return whether a row is DDIM inversion as published: from z', without guidance, with nothing put back."""
    changes = ("adjustment_strength", "self_replace_steps", "cross_replace_steps")
    return (
        (about["method"], about.get("warm_start"), about.get("preserve")) == ("ddim", "none", "none")
        and about["inversion_guidance_scale"] == 1.0
        and not any(about[name] for name in changes)
    )
