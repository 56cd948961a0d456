"""The editor with real models: the one place where images, prompts, models and scores meet.

Nothing here depends on which worker runs it, on the clock, or on what ran before.
"""

from __future__ import annotations

import gc
import hashlib
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from augment.dataset.record import as_json_text
from augment.editing.edits import checked_schedule, edit
from augment.errors import ModelError
from augment.inputs.tensors import to_images, to_pixels
from augment.inversion import hyperparameters, make_solver
from augment.models.clip import load_clip
from augment.models.load import load_model
from augment.run.batch import DecodedImage, RawEdits, is_out_of_memory
from augment.run.config import BatchConfig, WorkerConfig
from augment.scoring.edit_scores import EditScorer
from augment.seeding import seed_for

logger = logging.getLogger(__name__)

PSNR_CEILING = 100.0  # of two identical images; infinity is not storable


def load_editor(config: WorkerConfig) -> DiffusionEditor:
    """Load the models of a worker, on the number of CPU threads that it may use."""
    torch.set_num_threads(config.threads)
    return DiffusionEditor(config)


class DiffusionEditor:
    """Loads the models, then edits batches."""

    def __init__(self, config: BatchConfig) -> None:
        self.config = config
        self._model = load_model(config.model)
        self._check_settings()
        self._scorer = EditScorer(
            load_clip(config.clip.name, config.model.device), config.clip.label_templates, config.class_names
        )

    def _check_settings(self) -> None:
        """Raise for what the model cannot do at all, before it fails image by image."""
        size, factor = self.config.image_size, self._model.factor
        self._sampler = checked_schedule(self._model, self.config.editing, "editing").name
        if size % factor:
            below = size - size % factor
            raise ModelError(
                f"input.image_size {size} is not a multiple of {factor}, as images for "
                f"{self.config.model.name!r} must be; take {below or factor} or {below + factor}"
            )

    def release_memory(self) -> None:
        """Give cached memory back to the device."""
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

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
        sources = to_images(np.stack([image.pixels for image in batch])).to(self._model.device)  # [B, 3, H, W]
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
        stored = [to_pixels(edits) for edits in result.edits]  # uint8 [K_i, H, W, 3] each
        all_edits = torch.cat([to_images(p) for p in stored]).to(self._model.device)  # [sum K_i, 3, H, W]
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
        reconstructions = to_pixels(result.reconstruction)
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


def _psnr(value: Any) -> float:
    return min(float(value), PSNR_CEILING)
