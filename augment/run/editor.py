"""The editor with real models: the one place where images, prompts, models and scores meet.

The result depends on the images, the prompts and the settings only, not on the worker, the time or earlier batches.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from augment.dataset.record import as_json_text
from augment.editing.candidates import Place
from augment.editing.config import OF_THE_OBJECT
from augment.editing.edits import edit
from augment.editing.inverted import checked_schedule
from augment.editing.moves import draw_move, moved
from augment.editing.preserve.hints import Objects
from augment.errors import ModelError, PromptError
from augment.inputs.fit import Fit
from augment.inputs.tensors import to_images, to_pixels
from augment.models.clip import load_clip
from augment.models.interface import LatentDiffusion
from augment.models.load import load_model
from augment.models.segmentation import Segmenter
from augment.models.sides import SideLimits
from augment.models.text_readers import model_readers
from augment.prompts.lengths import cut_prompt
from augment.run.batch import DecodedImage, RawEdits, is_out_of_memory
from augment.run.batch_objects import objects_of, segmenter_of
from augment.run.batch_scores import EditToScore, edits_to_score, of_images, psnrs_of, score_edits
from augment.run.config import segmentation_identity
from augment.run.memory import device_kind, halved_at_once, release_memory
from augment.run.worker_config import BatchConfig, WorkerConfig
from augment.scoring.edit_scores import EditScorer
from augment.seeding import seed_for
from augment.types import PlannedSource

logger = logging.getLogger(__name__)
Scores = dict[str, float]

PSNR_CEILING = 100.0  # dB, of two identical images: records cannot hold infinity


def load_editor(config: WorkerConfig) -> DiffusionEditor:
    """Return an editor with the models of a worker, loaded on the number of CPU threads that it may use."""
    torch.set_num_threads(config.threads)
    editor = DiffusionEditor(config, load_model(config.model), load_scorer(config), segmenter_of(config))
    editor.limit_rows(config.batch_size)
    editor.limit_edits(config.max_edits_at_once)
    return editor


def load_scorer(config: BatchConfig) -> EditScorer:
    """Return the scorer of a worker's edits, with its CLIP loaded."""
    clip = load_clip(config.clip, config.model.torch_device)
    return EditScorer(clip, config.clip.label_templates, config.class_names)


class DiffusionEditor:
    """Edit batches of images with a model, and score the edits.

    Args:
        config: how to edit.
        model: what `config.model` names, loaded.
        scorer: scores the edits.
        segmenter: finds the objects in images that have no mask; None: nothing of them is kept.

    Raises:
        ModelError: for what the model cannot do at all: a sampler, an image size.
    """

    def __init__(
        self, config: BatchConfig, model: LatentDiffusion, scorer: EditScorer, segmenter: Segmenter | None = None
    ) -> None:
        self.config, self._model, self._scorer, self._segmenter = config, model, scorer, segmenter
        self._known = {"name": model.model_id, "revision": model.revision} | config.known_as.get("model", {})
        self._fit = Fit(config.fit, config.image_size)
        self._check_settings()
        self._text_readers = model_readers(config.model)
        self._said_that_words_are_lost = False

    def _check_settings(self) -> None:
        """Raise ModelError for settings that the model cannot run with at all, before every image fails."""
        limits = SideLimits(self._model.factor, self._model.largest_side)
        if problem := limits.problem(self._fit, self.config.model.name):
            raise ModelError(problem)
        self._sampler = checked_schedule(self._model, self.config.editing, "editing", self.config.image_size).name

    @property
    def device_kind(self) -> str:
        """Return what tells devices apart that differ in their memory."""
        return device_kind(torch.device(self._model.device))

    def limit_rows(self, rows: int) -> None:
        """Run the networks on `rows` images at once from now on (`augment.models.rows`), and return cached memory."""
        self._model.rows = self._scorer.clip.rows = rows
        release_memory()

    def limit_edits(self, at_once: int | None) -> None:
        """Sample, decode and score at most so many edits together from now on; None: all of a batch."""
        self._model.edits_at_once = at_once

    def edit(self, batch: Sequence[DecodedImage]) -> list[RawEdits]:
        """Edit and score a batch; return one result per image, in order. All that needs the device is done here.

        The images have one size, or are padded to one; what is padded is neither in the edits nor in their scores.

        If memory runs out, half as many edits are made together from then on, down to the rows of a call of the
        networks; the edits stay the same, bit for bit.

        An image whose result in half precision has NaN or infinity is edited again in float32, alone. If there is no
        memory for that, the edits of that image fail.

        Raises:
            PromptError: if the model does not read the class word of a target prompt. The driver finds most of these
                before the run, where the tokenizers are on its machine.
            Exception: whatever the model raises, for example when memory runs out.
        """
        for image in batch:
            self._check_prompts(image.planned)
        count = sum(len(image.planned.variants) for image in batch)
        while True:
            try:
                return self._edit_finite(batch)
            except Exception as error:
                if not is_out_of_memory(error) or not halved_at_once(self._model, count):
                    raise
                logger.warning("memory ran out; edits are made %d at once from now on", self._model.edits_at_once)
            release_memory()  # not above: the traceback keeps the tensors

    def _edit_finite(self, batch: Sequence[DecodedImage]) -> list[RawEdits]:
        """Edit and score a batch, in float32 where half precision does not do."""
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

    def in_place(self, image: DecodedImage) -> DecodedImage:
        """Return the picture that is edited: moved with its mask, if the config moves pictures."""
        if self.config.editing.moves is None:
            return image
        move = draw_move(self.config.editing.moves, seed_for("move", self.config.seed, image.sha256))
        mask = None if image.mask is None else moved(image.mask, move)
        return replace(image, pixels=moved(image.pixels, move), mask=mask)

    def _check_prompts(self, planned: PlannedSource) -> None:
        if not self._text_readers:
            return
        for variant in planned.variants:
            cut = cut_prompt(variant.prompt, planned.source.class_name, self._text_readers)
            if cut and cut.lost_class:
                raise PromptError(f"the model does not read the class {cut.lost_class!r} in {variant.prompt!r}")
            if cut and not self._said_that_words_are_lost:
                self._said_that_words_are_lost = True
                read = ", ".join(f"{name} reads {part!r}" for name, part in cut.read.items())
                logger.warning("prompts are longer than the model reads: of %r %s", variant.prompt, read)

    def _edit(self, batch: Sequence[DecodedImage], dtype: str) -> list[RawEdits]:
        batch = [self.in_place(image) for image in batch]
        areas = [self._fit.area(image.pixels.shape[1], image.pixels.shape[0]) for image in batch]
        given = to_images(np.stack([self._fit.padded(image.pixels) for image in batch]))
        given = given.to(self._model.device)  # [B, 3, H, W]
        prompts = [[v.prompt for v in image.planned.variants] for image in batch]

        def judge(places: Sequence[Place], found: Tensor) -> list[Scores]:
            variants = [batch[i].planned.variants[k] for i, k in places]
            pixels = [to_pixels(areas[i].cut(one[None]))[0] for (i, _), one in zip(places, found, strict=True)]
            of_places = zip(places, variants, pixels, strict=True)
            return self._scores(batch, given, [EditToScore(i, variant, p) for (i, _), variant, p in of_places])

        result = edit(
            self._model,
            given,
            [image.planned.source_prompt for image in batch],
            prompts,
            self.config.editing,
            seeds=[seed_for(self.config.seed, image.sha256) for image in batch],
            objects=self.objects(batch),
            judge=judge,
        )
        edits = [area.cut(of_one) for area, of_one in zip(areas, result.edits, strict=True)]
        stored = [to_pixels(of_one) for of_one in edits]  # uint8 [K_i, H, W, 3] each
        to_score = edits_to_score([image.planned for image in batch], stored)
        scores = of_images(self._scores(batch, given, to_score), [len(of_one) for of_one in stored])
        psnrs, bounds = result.psnr, result.vae_psnr
        if self._fit.name == "pad":
            psnrs, bounds = psnrs_of(result, given.cpu(), areas)
        return [
            RawEdits(
                image,
                pixels=stored[i],
                reconstruction=to_pixels(areas[i].cut(result.reconstruction[i : i + 1]))[0],
                finite=tuple(torch.isfinite(edits[i]).flatten(1).all(dim=1).tolist()),
                scores=scores[i],
                measured={
                    "reconstruction_psnr": _capped(psnrs[i]),
                    "vae_psnr": _capped(bounds[i]),
                    "inversion_residual": float(result.residual[i]),
                    "inversion_iterations": float(result.iterations[i]),
                    "inversion_evaluations": float(result.evaluations[i]),
                },
                settings={
                    "seed": self.config.seed,
                    "model_id": self._known["name"],
                    "model_revision": self._known["revision"],
                    "dtype": dtype,
                    "inversion_status": str(result.status[i]),
                    **self._editing_fields(),
                },
                of_edits=tuple(
                    {"strength": float(one.strength), "guidance_scale": float(one.guidance_scale)}
                    for one in result.settings[i]
                ),
                aug_ids=self._aug_ids(image.planned, image.content, dtype),
            )
            for i, image in enumerate(batch)
        ]

    def objects(self, batch: Sequence[DecodedImage]) -> Objects:
        """Return where the objects of a batch are, as far as `editing.preserve` asks for it."""
        return objects_of(batch, self.config.editing, self._fit, self._segmenter)

    def _scores(self, batch: Sequence[DecodedImage], given: Tensor, edits: Sequence[EditToScore]) -> list[Scores]:
        """Return the scores of stored pixels, with eight bits per channel."""
        areas = [self._fit.area(image.pixels.shape[1], image.pixels.shape[0]) for image in batch]
        at_once = self._model.edits_at_once
        return score_edits(self._scorer, [image.planned for image in batch], given, areas, edits, at_once)

    def aug_ids(self, planned: PlannedSource, content: str) -> list[tuple[str, ...]]:
        """Return for each edit of a source the ids that it may have: it is made in float32 where it has to be."""
        dtypes = dict.fromkeys((self.config.model.dtype, "float32"))
        return list(zip(*(self._aug_ids(planned, content, dtype) for dtype in dtypes), strict=True))

    def score(self, image: DecodedImage, edits: np.ndarray) -> list[dict[str, float]]:
        """Return the scores of edits that were made before, uint8 [K, H, W, 3]: one for each variant of the source."""
        image, variants = self.in_place(image), image.planned.variants
        return self._scorer.score(
            to_images(image.pixels[None]).to(self._model.device),
            to_images(edits).to(self._model.device),
            owners=[0] * len(variants),
            labels=[image.planned.source.label] * len(variants),
            prompts=[variant.prompt for variant in variants],
        )

    def _aug_ids(self, planned: PlannedSource, content: str, dtype: str) -> tuple[str, ...]:
        """Return for each edit of a source the hash of all that determines its pixels.

        Noise that a sampler adds is drawn from a seed made of the run's seed and the image's hash.
        """
        # The solver and the sampler as they ran, defaults included.
        settings = self.config.editing.identity() | self._editing_fields()
        settings |= segmentation_identity(self.config.editing, self.config.known_segmentation())
        if self.config.editing.candidates:  # which is kept, the scores say
            settings |= {"clip": self.config.known_clip().identity(), "classes": self.config.class_names}
        known, seed = self._known, self.config.seed
        seen = self._fit.identity if self.config.colour == "srgb" else f"{self._fit.identity}, profiles ignored"
        common = (content, known["name"], known["revision"], dtype, seen, as_json_text(settings))
        ids = []
        for variant in planned.variants:
            parts = (*common, seed, planned.source_prompt, variant.prompt)
            ids.append(hashlib.sha256(repr(parts).encode()).hexdigest()[:32])
        return tuple(ids)

    def _editing_fields(self) -> dict[str, Any]:
        """Return the editing settings as the record's fields; those of the solver with its defaults."""
        settings = self.config.editing.identity()
        solver = {name: value for name, value in settings["solver"].items() if name != "name"}
        more = ("warm_start", "stop", *OF_THE_OBJECT, "moves")
        solver |= {name: settings[name] for name in more if name in settings}
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


def _capped(value: float) -> float:
    return min(value, PSNR_CEILING)
