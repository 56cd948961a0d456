"""How good the embedded model is, judged by a classifier that has seen renders only."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from augment.editing import (
    EditConfig,
    Objects,
    edit,
    image_to_image,
    text_to_image,
)
from augment.editing.edits import round_trip_psnr
from augment.editing.inverted import full_schedule
from augment.inputs.images import decode_image
from augment.inputs.readers import list_sources, read_bytes
from augment.inputs.tensors import to_images
from augment.models.clip import ClipScorer
from augment.models.interface import LatentDiffusion
from augment.scoring import patch_distance
from augment.seeding import seed_for
from augment.tiny.captions import canonical_caption
from augment.tiny.dataset import split_path
from augment.tiny.packaged import WEIGHTS
from augment.tiny.world import BACKGROUNDS, CLASSES, CONDITIONS
from augment.training.classifier import AttributeClassifier
from augment.types import Source

EditFunction = Callable[[Tensor, list[str], list[str], list[str]], "Edits"]


@dataclass(frozen=True)
class Pictures:
    """A shipped split in memory: images in -1..1 [N, 3, 64, 64] and their sources, in the same order."""

    images: Float[Tensor, "N 3 64 64"]
    sources: list[Source]

    @property
    def captions(self) -> list[str]:
        """Return the caption of every picture."""
        return [s.caption for s in self.sources]

    def attribute(self, name: str) -> list[str]:
        """Return the value that every picture has of an attribute, such as `background`."""
        return [s.attributes[name] for s in self.sources]


def load_judge() -> AttributeClassifier:
    """Return the classifier trained on renders (`jobs/train_tiny.py`): heads for object, background and condition."""
    return AttributeClassifier.load(WEIGHTS / "judge")


def load_split(name: str, limit: int | None = None) -> Pictures:
    """Return the first `limit` pictures of a shipped split; splits are balanced from the front."""
    sources = list_sources(split_path(name), "webdataset").sources[:limit]
    pixels = np.stack([np.asarray(decode_image(read_bytes(s))) for s in sources])
    return Pictures(to_images(pixels), sources)


def accuracy(judge: AttributeClassifier, images: Tensor, attribute: str, wanted: Sequence[str]) -> float:
    """Return the share of images in which the judge sees the wanted value of an attribute; not in a lost one."""
    names = judge.attributes[attribute]
    predicted = judge.predict(images)[attribute].tolist()
    hits = zip(predicted, wanted, lost_among(images).tolist(), strict=True)
    return sum(names[p] == w and not lost for p, w, lost in hits) / len(wanted)


def lost_among(images: Float[Tensor, "N 3 H W"]) -> Bool[Tensor, " N"]:
    """Return which images were lost: a pixel is no number. A classifier would say some class of them."""
    return ~torch.isfinite(images).flatten(1).all(dim=1)


def other_background(source: Source) -> str:
    """Return a background that is not the picture's own, chosen by its key: the target of the background edits."""
    others = [b for b in BACKGROUNDS if b != source.attributes["background"]]
    return others[seed_for("target background", source.key) % len(others)]


def background_edit_prompts(pictures: Pictures) -> tuple[list[str], list[str]]:
    """Return target backgrounds and target prompts: only the background changes, object and condition stay."""
    targets = [other_background(s) for s in pictures.sources]
    prompts = [
        canonical_caption(s.attributes["object"], target, s.attributes["condition"])
        for s, target in zip(pictures.sources, targets, strict=True)
    ]
    return targets, prompts


@dataclass(frozen=True)
class Edits:
    """One edit per picture [N, 3, H, W], on the CPU, and the evaluations that the inversion of each took, per step."""

    pictures: Tensor
    evaluations_per_step: list[float]


@dataclass(frozen=True)
class EditScores:
    """Background edits of one method: shares in 0..1 by the judge, cosines by CLIP, n edits.

    `structure_distance` is `patch_distance` between source and edit in the patch features of CLIP's vision tower. The
    usual measure, LPIPS, needs the weights of a network that would have to be downloaded; this one says so by its name.
    `seconds_per_edit` is all of encoding, inverting, sampling and decoding, the reconstruction that comes with an
    inversion included. `lost` edits, whose pixels are no numbers, show and keep nothing; the means are NaN then.
    """

    background_reached: float
    object_kept: float
    condition_kept: float
    text_alignment: float
    source_similarity: float
    structure_distance: float
    structure_metric: str
    evaluations_per_step: float
    seconds_per_edit: float
    n: int
    lost: int


def inversion_editor(model: LatentDiffusion, config: EditConfig, pictures: Pictures) -> EditFunction:
    """Return a function that edits some of the pictures by inversion under the source caption."""
    objects = dict(zip([s.key for s in pictures.sources], pictures.attribute("object"), strict=True))
    steps = len(full_schedule(model, config).last_part(config.strength))

    def make(images: Tensor, captions: list[str], prompts: list[str], keys: list[str]) -> Edits:
        seeds = [seed_for("benchmark", key) for key in keys]
        words = Objects([objects[key] for key in keys])
        result = edit(model, images, captions, [[p] for p in prompts], config, seeds=seeds, objects=words)
        return Edits(torch.cat(result.edits), [n / steps for n in result.evaluations])

    return make


def image_to_image_editor(model: LatentDiffusion, config: EditConfig) -> EditFunction:
    """Return a function that edits from fresh noise at the same strength: no inversion, no source caption."""

    def make(images: Tensor, captions: list[str], prompts: list[str], keys: list[str]) -> Edits:
        pictures = image_to_image(model, images, prompts, [seed_for("image to image", k) for k in keys], config)
        return Edits(pictures, [0.0] * len(keys))

    return make


def score_background_edits(
    pictures: Pictures, editor: EditFunction, judge: AttributeClassifier, clip: ClipScorer, batch_size: int = 32
) -> EditScores:
    """Change every picture's background and score the edits."""
    targets, prompts = background_edit_prompts(pictures)
    keys = [s.key for s in pictures.sources]
    parts: list[Edits] = []
    began = time.perf_counter()  # the edits come back on the CPU: no device is still at work on them
    for i in range(0, len(keys), batch_size):
        chunk = slice(i, i + batch_size)
        parts.append(editor(pictures.images[chunk], pictures.captions[chunk], prompts[chunk], keys[chunk]))
    seconds = time.perf_counter() - began
    edits = torch.cat([part.pictures for part in parts])
    evaluations = [n for part in parts for n in part.evaluations_per_step]
    embeds = clip.image_embeds(edits)
    moved = patch_distance(clip.patch_embeds(edits), clip.patch_embeds(pictures.images))
    return EditScores(
        background_reached=accuracy(judge, edits, "background", targets),
        object_kept=accuracy(judge, edits, "object", pictures.attribute("object")),
        condition_kept=accuracy(judge, edits, "condition", pictures.attribute("condition")),
        text_alignment=float((embeds * clip.text_embeds(prompts)).sum(dim=1).mean()),
        source_similarity=float((embeds * clip.image_embeds(pictures.images)).sum(dim=1).mean()),
        structure_distance=float(moved.mean()),
        structure_metric="clip_patch_distance",
        evaluations_per_step=statistics.fmean(evaluations),
        seconds_per_edit=seconds / len(keys),
        n=len(keys),
        lost=int(lost_among(edits).sum()),
    )


@dataclass(frozen=True)
class TinyQuality:
    """The figures of `augment evaluate-tiny`; shares in 0..1, PSNR in dB; `student_*` are the few-step student's."""

    vae_psnr: float
    object_accuracy: float
    background_accuracy: float
    student_object_accuracy: float
    student_background_accuracy: float
    clip_object_accuracy: float
    edit_background_accuracy: float
    edit_object_kept: float
    judge_object_accuracy: float
    judge_background_accuracy: float
    n: int


def clip_object_accuracy(clip: ClipScorer, pictures: Pictures) -> float:
    """Return the share of pictures whose nearest class, each described in every scene of the world, is their own."""
    names = list(CLASSES)
    texts = clip.class_embeds([[canonical_caption(n, b, c) for b in BACKGROUNDS for c in CONDITIONS] for n in names])
    nearest = (clip.image_embeds(pictures.images) @ texts.T).argmax(dim=1).tolist()
    return sum(names[i] == o for i, o in zip(nearest, pictures.attribute("object"), strict=True)) / len(nearest)


@torch.no_grad()
def generation_accuracy(
    model: LatentDiffusion, judge: AttributeClassifier, pictures: Pictures, config: EditConfig, batch_size: int = 32
) -> tuple[float, float]:
    """Return the shares of text to image, under the split's captions, with the caption's (object, background)."""
    parts = []
    for i in range(0, len(pictures.sources), batch_size):
        seeds = [seed_for("text to image", s.key) for s in pictures.sources[i : i + batch_size]]
        parts.append(text_to_image(model, pictures.captions[i : i + batch_size], seeds, config))
    generated = torch.cat(parts)
    object_, background = (accuracy(judge, generated, a, pictures.attribute(a)) for a in ("object", "background"))
    return object_, background


def evaluate_tiny(
    model: LatentDiffusion,
    student: LatentDiffusion,
    clip: ClipScorer,
    judge: AttributeClassifier,
    pictures: Pictures,
    edit_config: EditConfig,
    generation: EditConfig,
    student_generation: EditConfig,
) -> TinyQuality:
    """Measure autoencoder, text to image of teacher and student, CLIP and the teacher's edits on one split."""
    generated = generation_accuracy(model, judge, pictures, generation)
    of_student = generation_accuracy(student, judge, pictures, student_generation)
    edits = score_background_edits(pictures, inversion_editor(model, edit_config, pictures), judge, clip)
    return TinyQuality(
        vae_psnr=float(round_trip_psnr(model, pictures.images).mean()),
        object_accuracy=generated[0],
        background_accuracy=generated[1],
        student_object_accuracy=of_student[0],
        student_background_accuracy=of_student[1],
        clip_object_accuracy=clip_object_accuracy(clip, pictures),
        edit_background_accuracy=edits.background_reached,
        edit_object_kept=edits.object_kept,
        judge_object_accuracy=accuracy(judge, pictures.images, "object", pictures.attribute("object")),
        judge_background_accuracy=accuracy(judge, pictures.images, "background", pictures.attribute("background")),
        n=len(pictures.sources),
    )
