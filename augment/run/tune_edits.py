"""Edits of a few images under a grid of settings, scored as a run scores them; the part of `tune` that needs models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from PIL import Image

from augment.editing.config import Setting
from augment.editing.inverted import checked_schedule
from augment.editing.sweep import sweep
from augment.errors import ImageError, InputError, ModelError
from augment.inputs.fit import Fit
from augment.inputs.images import decode_image, encode_png
from augment.inputs.masks import decode_mask
from augment.inputs.tensors import to_images, to_pixels
from augment.models.clip import load_clip
from augment.models.load import load_model
from augment.report.contact_sheet import TILE
from augment.run.batch import DecodedImage, is_out_of_memory
from augment.run.batch_objects import segmenter_of
from augment.run.editor import DiffusionEditor
from augment.run.source_files import SourceFiles
from augment.run.tune_choice import Scores
from augment.run.worker_config import BatchConfig
from augment.scoring import patch_distance
from augment.scoring.edit_scores import EditScorer
from augment.seeding import seed_for
from augment.types import PlannedSource

STRENGTHS = (0.4, 0.55, 0.7, 0.85, 1.0)  # the demo's ten steps: 4, 5, 7, 8, 10
GUIDANCE = (0.5, 1.0, 1.5)  # times the config's own


class SettingSweep:
    """Edits images under every setting of a grid, each image being inverted once.

    Args:
        config: how to edit and score; its strength and its guidance scale are only where the default grid is.
        batch_size: images inverted together.

    Attributes:
        scores: setting -> key of a source -> the scores of its edits.
        sources: key of a source -> the fitted image, as a small PNG file.
        pictures: setting -> key of a source -> its edits, as small PNG files.
        skipped: key of a source -> why it has no scores.

    Raises:
        ModelError: if the models cannot be loaded, or cannot run with the config.
    """

    def __init__(self, config: BatchConfig, batch_size: int) -> None:
        self._config, self._batch_size = config, batch_size
        self._model = load_model(config.model)
        self._clip = load_clip(config.clip, config.model.torch_device)
        scorer = EditScorer(self._clip, config.clip.label_templates, config.class_names)
        self._editor = DiffusionEditor(config, self._model, scorer, segmenter_of(config))
        self._editor.limit_rows(batch_size)
        self._fit = Fit(config.fit, config.image_size)
        self.scores: dict[Setting, dict[str, list[Scores]]] = {}
        self.sources: dict[str, bytes] = {}
        self.pictures: dict[Setting, dict[str, list[bytes]]] = {}
        self.skipped: dict[str, str] = {}

    def grid(self, strengths: Sequence[float], guidance_scales: Sequence[float]) -> list[Setting]:
        """Return the settings to try, by strength and then by guidance.

        Strengths that take equally many steps make the same edits; of those the config's own stays, or else the first.

        Args:
            strengths: () for `STRENGTHS` and the config's own, as far as their steps have an inverse.
            guidance_scales: () for `GUIDANCE` times the config's own; for a config without guidance that is all.

        Raises:
            ModelError: for a strength that takes a step without an inverse.
        """
        own = self._config.editing
        taken: dict[int, float] = {}
        for strength in sorted(strengths or (own.strength, *STRENGTHS), key=lambda s: s != own.strength):
            try:
                taken.setdefault(self.steps(strength), strength)
            except ModelError:
                if strengths:
                    raise
        unguided = own.guidance_scale == 1.0
        around = (1.0,) if unguided else (max(1.0, round(factor * own.guidance_scale, 2)) for factor in GUIDANCE)
        scales = sorted(set(guidance_scales or around))
        return [Setting(strength, scale) for _, strength in sorted(taken.items()) for scale in scales]

    def steps(self, strength: float) -> int:
        """Return how many steps a strength inverts and redoes. Raises ModelError if one of them has no inverse."""
        config = self._config.editing.model_copy(update={"strength": strength})
        return len(checked_schedule(self._model, config, "editing", self._config.image_size).last_part(strength))

    def run(self, planned: Iterable[PlannedSource], grid: Sequence[Setting], say: Callable[[str], None]) -> None:
        """Edit and score sources under every setting of a grid; what cannot be edited is in `skipped` afterwards.

        Args:
            planned: the sources and the edits that are wanted of them.
            grid: the settings.
            say: is told the progress, a line for each batch.

        Raises:
            ModelError: if memory runs out.
        """
        groups: dict[tuple[int, ...], list[DecodedImage]] = {}  # of one size, as the model needs them
        for one in planned:
            image = self._read(one)
            if image is not None:
                groups.setdefault(self._fit.padded(image.pixels).shape, []).append(image)
        images = [image for group in groups.values() for image in group]
        done = 0
        for group in groups.values():
            for start in range(0, len(group), self._batch_size):
                batch = group[start : start + self._batch_size]
                try:
                    self._edit(batch, grid)
                except Exception as error:
                    if not is_out_of_memory(error):
                        raise
                    raise ModelError(
                        f"memory ran out with {len(batch)} images at once; try a smaller run.batch_size"
                    ) from error
                done += len(batch)
                say(f"{done} of {len(images)} images under {len(grid)} settings")

    def _read(self, planned: PlannedSource) -> DecodedImage | None:
        try:
            files = SourceFiles.read(planned.source)
            pixels = np.array(decode_image(files.picture, self._fit, colour=self._config.colour))
            mask = decode_mask(files.mask, self._fit, files.picture) if files.mask_sha256 else None
        except (InputError, ImageError) as error:
            self.skipped[planned.source.key] = str(error)
            return None
        self.sources[planned.source.key] = _small(pixels)
        return self._editor.in_place(DecodedImage(planned, files.sha256, pixels, mask, files.mask_sha256))

    def _edit(self, batch: Sequence[DecodedImage], grid: Sequence[Setting]) -> None:
        given = to_images(np.stack([self._fit.padded(image.pixels) for image in batch]))
        own_patches = [self._clip.patch_embeds(to_images(image.pixels[None])) for image in batch]
        swept = sweep(
            self._model,
            given.to(self._model.device),
            [image.planned.source_prompt for image in batch],
            [[variant.prompt for variant in image.planned.variants] for image in batch],
            self._config.editing,
            grid,
            seeds=[seed_for(self._config.seed, image.sha256) for image in batch],
            objects=self._editor.objects(batch),
        )
        for setting, edits in swept:
            scores = self.scores.setdefault(setting, {})
            pictures = self.pictures.setdefault(setting, {})
            for image, patches, padded in zip(batch, own_patches, edits, strict=True):
                key = image.planned.source.key
                own = self._fit.area(image.pixels.shape[1], image.pixels.shape[0]).cut(padded)
                if not torch.isfinite(own).all():
                    self.skipped[key] = f"an edit has NaN or infinity in it, at {setting}"
                stored = to_pixels(own)  # scored as a run scores them: with eight bits per channel
                found = self._editor.score(image, stored)
                of_edits = self._clip.patch_embeds(to_images(stored))
                moved = patch_distance(of_edits, patches.expand_as(of_edits)).tolist()
                scores[key] = [s | {"patch_distance": d} for s, d in zip(found, moved, strict=True)]
                pictures[key] = [_small(pixels) for pixels in stored]


def _small(pixels: np.ndarray) -> bytes:
    """Return a picture as a PNG file no larger than a tile of the contact sheet: there may be many settings."""
    picture = Image.fromarray(pixels)
    picture.thumbnail((TILE, TILE), Image.Resampling.BOX)
    return encode_png(np.asarray(picture))
