"""Synthetic pictures with the score that `augment expand` filters by, and those of them that its threshold keeps.

The scored pictures lie in a folder beside those that they were made of, in the same form. A class without a word has no
label score: classes that share a word share their probability, so where none has one every picture has a score of 1.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from augment.errors import ConfigError
from augment.inputs.images import decode_image
from augment.inputs.readers import list_sources, read_bytes
from augment.inputs.tensors import to_images
from augment.models.clip import load_clip
from augment.scoring.edit_scores import EditScorer
from augment.storage.tar import iter_tar, write_bytes_atomic, write_tar
from augment.study.config import StudyConfig
from augment.study.pictures import Sample
from augment.study.tracks import StudyTrack, word_of
from augment.tiny.captions import ANYTHING

SCORE = "label_probability"


def score_synthetic(track: StudyTrack, folder: Path, config: StudyConfig, *, keep_all: bool) -> Path:
    """Return the folder of a maker's pictures with their label score, made if it is not there.

    Args:
        folder: of `make_synthetic`.
        keep_all: also those below `config.min_label_probability`.

    Raises:
        ConfigError: if none is above it.
    """
    settings = config.clip.identity()
    settings |= {} if keep_all else {"min_label_probability": config.min_label_probability}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    out = folder.with_name(f"{folder.name}-{'scored' if keep_all else 'filtered'}-{digest}")
    if (out / "manifest.json").exists():
        return out
    words = {label: word_of(name) or ANYTHING[0] for label, name in enumerate(track.spec.classes)}
    scorer = EditScorer(load_clip(config.clip), config.clip.label_templates, words)
    files = {s.key: read_bytes(s) for s in list_sources(track.tar("train"), "webdataset").sources}
    least, count = (0.0 if keep_all else config.min_label_probability), 0
    for shard in sorted((folder / "shards").glob("*.tar")):
        samples = list(_scored(list(iter_tar(shard)), scorer, files))
        kept = [sample for sample in samples if json.loads(sample[1]["json"])[SCORE] >= least]
        if kept:
            count += write_tar(out / "shards" / shard.name, kept)
    if not count:
        problem = f"min_label_probability: none of the {track.name} pictures in {folder.name} has {least:g}; lower it"
        raise ConfigError("the study", [problem])
    content = json.dumps({"pictures": count, "settings": settings, "made_of": folder.name}, indent=2)
    write_bytes_atomic(out / "manifest.json", (content + "\n").encode())
    return out


@torch.no_grad()
def _scored(samples: Sequence[Sample], scorer: EditScorer, files: dict[str, bytes]) -> Iterator[Sample]:
    """Yield the samples of a tar with the score in their records."""
    records = [json.loads(sample["json"]) for _, sample in samples]
    scores = scorer.score(
        to_images(np.stack([np.asarray(decode_image(files[record["source_key"]])) for record in records])),
        to_images(np.stack([np.asarray(decode_image(sample["png"])) for _, sample in samples])),
        owners=range(len(samples)),
        labels=[int(sample["cls"]) for _, sample in samples],
        prompts=[sample["txt"].decode() for _, sample in samples],
    )
    for (key, sample), record, score in zip(samples, records, scores, strict=True):
        yield key, {**sample, "json": json.dumps(record | {SCORE: score[SCORE]}, sort_keys=True).encode()}
