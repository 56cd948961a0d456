"""An editor without models, to measure and to test what is around them: readers, workers, pool, ledger.

Its edits are tinted copies of the source, whose bytes depend on the image, the prompt and the seed only. It sleeps for
the time that it is told to take, as a process that waits for its GPU does. It imports no torch.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence

import numpy as np

from augment.run.batch import DecodedImage, RawEdits
from augment.run.worker_config import WorkerConfig
from augment.types import PlannedSource


class SimulatedEditor:
    """Makes tinted copies in place of `DiffusionEditor`'s edits.

    Args:
        config: settings of the worker.
        seconds_per_batch: time that the first, second, ... batch takes, repeated from the start; empty for no time.
    """

    def __init__(self, config: WorkerConfig, seconds_per_batch: Sequence[float] = ()) -> None:
        self._config, self._seconds = config, tuple(seconds_per_batch)
        self._batches = 0
        self.device_kind = "simulated"

    def limit_rows(self, rows: int) -> None:
        """Do nothing: there are no models."""

    def aug_ids(self, planned: PlannedSource, sha256: str) -> list[tuple[str, ...]]:
        """Return the id of each edit of a source."""
        return [(digest.hex()[:32],) for digest in self._digests(planned, sha256)]

    def score(self, image: DecodedImage, edits: np.ndarray) -> list[dict[str, float]]:
        """Return scores that depend on the file and the prompt."""
        return [_scores(digest) for digest in self._digests(image.planned, image.sha256)]

    def edit(self, batch: Sequence[DecodedImage]) -> list[RawEdits]:
        """Return tinted copies, with scores that depend on the file and the prompt."""
        if self._seconds:
            time.sleep(self._seconds[self._batches % len(self._seconds)])
        self._batches += 1
        return [self._edits(image) for image in batch]

    def _edits(self, image: DecodedImage) -> RawEdits:
        digests = self._digests(image.planned, image.sha256)
        tints = [np.frombuffer(digest[:3], np.uint8) for digest in digests]
        return RawEdits(
            image,
            pixels=np.stack([image.pixels ^ tint for tint in tints]),
            reconstruction=image.pixels,
            finite=(True,) * len(digests),
            scores=tuple(map(_scores, digests)),
            measured={
                "reconstruction_psnr": 30.0,
                "vae_psnr": 31.0,
                "inversion_residual": 0.0,
                "inversion_iterations": 1.0,
                "inversion_evaluations": 1.0,
            },
            settings={"seed": self._config.seed, "model_id": "simulated", "inversion_status": "converged"},
            of_edits=({},) * len(digests),
            aug_ids=tuple(digest.hex()[:32] for digest in digests),
        )

    def _digests(self, planned: PlannedSource, sha256: str) -> list[bytes]:
        seed, words = self._config.seed, planned.source_prompt
        return [hashlib.sha256(f"{sha256} {seed} {words} {v.prompt}".encode()).digest() for v in planned.variants]


def _scores(digest: bytes) -> dict[str, float]:
    names = ("label_probability", "text_alignment", "source_similarity")
    return {name: byte / 255 for name, byte in zip(names, digest[3:], strict=False)}
