"""A batch of decoded images -> scored samples: the one place where images, prompts, models and records meet.

Nothing here depends on which worker runs it, on the clock, or on what ran before: the same batch gives the same bytes.
"""

from __future__ import annotations

import hashlib
import logging
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

    from augment.models.interface import LatentDiffusion

logger = logging.getLogger(__name__)

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
class RawEdits:
    """What the models made of one image, nothing of it encoded yet.

    Attributes:
        pixels: the edits, uint8 [K, H, W, 3], one per variant. reconstruction: uint8 [H, W, 3].
        finite: for each edit, whether it had neither NaN nor infinity in it.
        scores: of each edit, by name.
        measured: of the inversion, by the names of the record's fields.
        settings: what it was made with, by the names of the record's fields.
        aug_ids: of each edit, the hash of all that determines its pixels.
    """

    image: DecodedImage
    pixels: np.ndarray
    reconstruction: np.ndarray
    finite: tuple[bool, ...]
    scores: tuple[dict[str, float], ...]
    measured: dict[str, float]
    settings: dict[str, Any]
    aug_ids: tuple[str, ...]

    @property
    def is_finite(self) -> bool:
        """Whether everything in it can be used."""
        numbers = [*self.measured.values(), *(value for scores in self.scores for value in scores.values())]
        return all(self.finite) and all(map(math.isfinite, numbers))


@dataclass(frozen=True)
class EditedImage:
    """What became of one image.

    Attributes:
        records: one per variant, failed or not.
        samples: of these, and of the reconstruction if there is one.
        psnr, vae_psnr: dB of the reconstruction and of the VAE round trip; None if the inversion diverged.
    """

    records: tuple[EditRecord, ...]
    samples: tuple[Sample, ...]
    psnr: float | None = None
    vae_psnr: float | None = None


def is_out_of_memory(error: Exception) -> bool:
    """Whether there was too little memory: of the device, of one of its libraries, or of the machine."""
    text = str(error).lower()
    signs = ("out of memory", "can't allocate memory", "alloc_failed")  # the last is cuBLAS's and cuDNN's
    return isinstance(error, MemoryError) or any(sign in text for sign in signs)


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

    def edit(self, batch: Sequence[DecodedImage]) -> list[RawEdits]:
        """Edit and score a batch; one result per image. All that needs the device is done here.

        What comes out of half precision with NaN or infinity in it is made once more in float32, each image alone. If
        there is no memory for that, the image fails, and nothing else.

        Raises:
            Exception: whatever the model raises, for example when memory runs out.
        """
        results = self._edit(batch, self.config.model.dtype)
        again = [i for i, raw in enumerate(results) if not raw.is_finite]
        if again and self.config.model.dtype != "float32":
            try:
                with self._model.in_float32():
                    for i in again:
                        (results[i],) = self._edit([batch[i]], "float32")
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                logger.warning("no memory to make images again in float32: %s", error)
        return results

    def _edit(self, batch: Sequence[DecodedImage], dtype: str) -> list[RawEdits]:
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
        stored = [_to_pixels(edits) for edits in result.edits]  # uint8 [K_i, H, W, 3] each
        all_edits = torch.cat([_to_images(p) for p in stored]).to(self._model.device)  # [sum K_i, 3, H, W]
        owners = [i for i, image in enumerate(batch) for _ in image.planned.variants]
        scores = iter(
            self._scorer.score(
                sources,
                all_edits,
                owners=owners,
                labels=[batch[i].planned.source.label for i in owners],
                prompts=[prompt for of_one in prompts for prompt in of_one],
            )
        )
        reconstructions = _to_pixels(result.reconstruction)
        return [
            RawEdits(
                image,
                pixels=stored[i],
                reconstruction=reconstructions[i],
                finite=tuple(torch.isfinite(result.edits[i]).flatten(1).all(dim=1).tolist()),
                scores=tuple(next(scores) for _ in image.planned.variants),
                measured={
                    "reconstruction_psnr": _psnr(result.psnr[i]),
                    "vae_psnr": _psnr(result.vae_psnr[i]),
                    "inversion_residual": float(result.residual[i]),
                    "inversion_iterations": float(result.iterations[i]),
                    "inversion_evaluations": float(result.evaluations[i]),
                },
                settings={
                    "seed": self.config.seed,
                    "model_id": self._model.model_id,
                    "model_revision": self._model.revision,
                    "dtype": dtype,
                    "inversion_status": str(result.status[i]),
                    **self._editing_fields(),
                },
                aug_ids=self._aug_ids(image, dtype),
            )
            for i, image in enumerate(batch)
        ]

    def _aug_ids(self, image: DecodedImage, dtype: str) -> tuple[str, ...]:
        """Hashes of what determines the pixels of each edit of a source.

        What is drawn at random, the noise of samplers that add some, has its seed from the run's and the image's hash.
        """
        # The solver and the sampler as they ran, with what the config leaves to their defaults.
        settings = self.config.editing.model_dump(mode="json") | self._editing_fields()
        model, config = self._model, self.config
        common = (image.sha256, model.model_id, model.revision, dtype, config.image_size, as_json_text(settings))
        ids = []
        for variant in image.planned.variants:
            parts = (*common, config.seed, image.planned.source_prompt, variant.prompt, variant.index)
            ids.append(hashlib.sha256(repr(parts).encode()).hexdigest()[:32])
        return tuple(ids)

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


def encode_image(raw: RawEdits, config_hash: str) -> EditedImage:
    """The records, the PNGs and the statistics of one image. NaN or infinity costs the edit, or the image, that it is
    found in. Needs no device, so it may run while the next batch is edited."""
    image = raw.image
    unusable = [name for name, value in raw.measured.items() if not math.isfinite(value)]
    records: list[EditRecord] = []
    samples: list[Sample] = []
    for variant, aug_id, is_finite, pixels, score in zip(
        image.planned.variants, raw.aug_ids, raw.finite, raw.pixels, raw.scores, strict=True
    ):
        planned = planned_record(image.planned, variant, config_hash)
        record = replace(planned, aug_id=aug_id, source_sha256=image.sha256, **raw.settings)
        if unusable:
            record = replace(record, stage="invert", reason=f"{unusable[0]} is not finite: the inversion diverged")
        elif not is_finite:
            record = replace(record, stage="edit", reason="the edit has NaN or infinity in it")
        elif not all(map(math.isfinite, score.values())):
            record = replace(record, stage="score", reason="a score is not finite")
        else:
            values: dict[str, Any] = raw.measured | score
            record = replace(record, status=EDITED, **values)
        edited = record.status == EDITED
        records.append(record)
        samples.append((record.key, edit_files(record, encode_png(pixels))) if edited else failed_sample(record))
    if unusable:
        return EditedImage(tuple(records), tuple(samples))
    key = image.planned.source.key + RECONSTRUCTION_SUFFIX
    samples.append((key, {"png": encode_png(raw.reconstruction)}))
    psnr, vae_psnr = raw.measured["reconstruction_psnr"], raw.measured["vae_psnr"]
    return EditedImage(tuple(records), tuple(samples), psnr, vae_psnr)


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
