"""A batch of decoded images -> scored samples: the one place where images, prompts, models and records meet.

Nothing here depends on which worker runs it, on the clock, or on what ran before: the same batch gives the same bytes.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from augment.data.images import encode_png
from augment.data.shards import EDITED, RECONSTRUCTION_SUFFIX, EditRecord, as_json_text, edit_files, planned_record
from augment.edit_config import EditConfig
from augment.models.config import ModelConfig
from augment.scoring import ClipConfig, EditScorer
from augment.seeding import seed_for
from augment.types import PlannedSource

if TYPE_CHECKING:
    from torch import Tensor

    from augment.editing import EditResult
    from augment.models.interface import LatentDiffusion

PSNR_CEILING = 100.0  # of two identical images; infinity is not storable
Sample = tuple[str, dict[str, bytes]]  # key, files by extension


class BatchConfig(BaseModel):
    """What determines the pixels and the scores of edits, given the images and their prompts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: ModelConfig
    editing: EditConfig
    clip: ClipConfig
    image_size: int = Field(gt=0, description="side in pixels to which sources are resized and cropped")
    class_names: dict[int, str] = Field(min_length=1, description="label -> class name, of the whole dataset")
    seed: int = Field(description="seed of the run")
    config_hash: str = Field(description="digest of the plan, kept in every record")


@dataclass(frozen=True)
class DecodedImage:
    """A decoded source: its plan, the sha256 of its file, and its pixels uint8 [H, W, 3]."""

    planned: PlannedSource
    sha256: str
    pixels: np.ndarray


@dataclass(frozen=True)
class EditedImage:
    """What became of one image.

    Attributes:
        samples: one per variant, failed or not, and the reconstruction if there is one.
        psnr, vae_psnr: dB of the reconstruction and of the VAE round trip; None if the inversion diverged.
    """

    samples: tuple[Sample, ...]
    psnr: float | None
    vae_psnr: float | None


class BatchEditor:
    """Loads the models, then edits batches."""

    def __init__(self, config: BatchConfig) -> None:
        from augment.models.load import load_model

        self.config = config
        self._model: LatentDiffusion = load_model(config.model)
        self._check_settings()
        self._scorer = EditScorer(config.clip, config.class_names, config.model.device)

    def _check_settings(self) -> None:
        """Raise for what the model cannot do at all, before it fails image by image."""
        from augment.editing import checked_schedule
        from augment.models.config import ModelError

        size, factor = self.config.image_size, self._model.factor
        self._sampler = checked_schedule(self._model, self.config.editing, "editing").name
        if size % factor:
            below = size - size % factor
            raise ModelError(
                f"input.image_size {size} is not a multiple of {factor}, as images for "
                f"{self.config.model.name!r} must be; take {below or factor} or {below + factor}"
            )

    def edit(self, batch: Sequence[DecodedImage]) -> list[EditedImage]:
        """Edit and score a batch; one result per image. NaN or infinity costs the edit or the image it is found in.

        Raises:
            Exception: whatever the model raises, for example when memory runs out.
        """
        import torch

        from augment.editing import edit

        pixels = torch.from_numpy(np.stack([image.pixels for image in batch]))  # [B, H, W, 3]
        sources = (pixels.permute(0, 3, 1, 2).float() / 127.5 - 1).to(self._model.device)  # [B, 3, H, W]
        prompts = [[v.prompt for v in image.planned.variants] for image in batch]
        result = edit(
            self._model,
            sources,
            [image.planned.source_prompt for image in batch],
            prompts,
            self.config.editing,
            seeds=[seed_for(self.config.seed, image.sha256) for image in batch],
        )
        # Scored is what is stored: eight bits per channel.
        finite = [torch.isfinite(edits).flatten(1).all(dim=1).tolist() for edits in result.edits]
        stored = [_to_pixels(edits) for edits in result.edits]  # uint8 [K_i, H, W, 3] each
        all_edits = torch.cat([_to_images(p) for p in stored]).to(self._model.device)  # [sum K_i, 3, H, W]
        owners = [i for i, image in enumerate(batch) for _ in image.planned.variants]
        scores = self._scorer.score(
            sources,
            all_edits,
            owners=owners,
            labels=[batch[i].planned.source.label for i in owners],
            prompts=[prompt for of_one in prompts for prompt in of_one],
        )
        reconstructions = _to_pixels(result.reconstruction)
        outcome = []
        offset = 0
        for i, image in enumerate(batch):
            count = len(image.planned.variants)
            outcome.append(
                self._samples(
                    image, result, i, finite[i], stored[i], reconstructions[i], scores[offset : offset + count]
                )
            )
            offset += count
        return outcome

    def _samples(
        self,
        image: DecodedImage,
        result: EditResult,
        index: int,
        finite: Sequence[bool],
        edits: np.ndarray,
        reconstruction: np.ndarray,
        scores: list[dict[str, float]],
    ) -> EditedImage:
        """The samples and the statistics of image `index` of a batch."""
        psnr, vae_psnr = _psnr(result.psnr[index]), _psnr(result.vae_psnr[index])
        measured: dict[str, Any] = {
            "reconstruction_psnr": psnr,
            "vae_psnr": vae_psnr,
            "inversion_residual": float(result.residual[index]),
            "inversion_iterations": float(result.iterations[index]),
            "inversion_evaluations": float(result.evaluations[index]),
        }
        unusable = [name for name, value in measured.items() if not math.isfinite(value)]
        samples: list[Sample] = []
        for variant, is_finite, pixels, score in zip(image.planned.variants, finite, edits, scores, strict=True):
            record = replace(
                planned_record(image.planned, variant, self.config.config_hash),
                aug_id=self._aug_id(image, variant.prompt, variant.index),
                source_sha256=image.sha256,
                seed=self.config.seed,
                model_id=self._model.model_id,
                model_revision=self._model.revision,
                inversion_status=str(result.status[index]),
                **self._editing_fields(),
            )
            if unusable:
                record = replace(record, stage="invert", reason=f"{unusable[0]} is not finite: the inversion diverged")
            elif not is_finite:
                record = replace(record, stage="edit", reason="the edit has NaN or infinity in it")
            elif not all(map(math.isfinite, score.values())):
                record = replace(record, stage="score", reason="a score is not finite")
            else:
                values: dict[str, Any] = measured | score
                record = replace(record, status=EDITED, **values)
            edited = record.status == EDITED
            samples.append((record.key, edit_files(record, encode_png(pixels))) if edited else failed_sample(record))
        if unusable:
            return EditedImage(tuple(samples), None, None)
        key = image.planned.source.key + RECONSTRUCTION_SUFFIX
        return EditedImage((*samples, (key, {"png": encode_png(reconstruction)})), psnr, vae_psnr)

    def _pixel_settings(self, image: DecodedImage) -> tuple[object, ...]:
        """What determines the pixels of all edits of a source, but for their prompts.

        What is drawn at random, the noise of samplers that add some, has its seed from the run's and the image's hash.
        """
        model, config = self._model, self.config
        # The solver and the sampler as they ran, with what the config leaves to their defaults.
        settings = config.editing.model_dump(mode="json") | self._editing_fields()
        size, dtype = config.image_size, config.model.dtype
        return (image.sha256, model.model_id, model.revision, dtype, size, as_json_text(settings), config.seed)

    def _aug_id(self, image: DecodedImage, prompt: str, variant: int) -> str:
        parts = (*self._pixel_settings(image), image.planned.source_prompt, prompt, variant)
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]

    def _editing_fields(self) -> dict[str, Any]:
        """The editing settings as the record's flat fields; the solver's with the defaults it was run with."""
        from augment.inversion import hyperparameters, make_solver

        settings = self.config.editing.model_dump(mode="json")
        solver = hyperparameters(make_solver(**settings["solver"])) | {"stop": settings["stop"]}
        return {
            "sampler": self._sampler,
            "num_steps": settings["num_steps"],
            "strength": float(settings["strength"]),
            "guidance_scale": float(settings["guidance_scale"]),
            "inversion_guidance_scale": float(settings["inversion_guidance_scale"]),
            "adjustment_strength": float(settings["adjustment_strength"]),
            "match_noise": int(settings["match_noise"]),
            "solver": settings["solver"]["name"],
            "solver_settings": as_json_text(solver),
        }


def failed_sample(record: EditRecord) -> Sample:
    """How a failed edit is stored: its record alone."""
    return record.key, {"json": record.to_json()}


def _psnr(value: Any) -> float:
    return min(float(value), PSNR_CEILING)


def _to_pixels(images: Tensor) -> np.ndarray:
    """Images [N, 3, H, W] in -1..1 -> uint8 [N, H, W, 3]; NaN becomes grey and is reported apart."""
    values = images.detach().float().nan_to_num(0.0).clamp(-1, 1)
    pixels: np.ndarray = ((values + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return pixels


def _to_images(pixels: np.ndarray) -> Tensor:
    """The reverse: uint8 [N, H, W, 3] -> [N, 3, H, W] in -1..1."""
    import torch

    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
