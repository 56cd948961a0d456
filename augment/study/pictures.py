"""The synthetic pictures of the study: each maker makes its own of a track once, in a folder that its settings name.

The folder is what `augment train` reads as the output of `augment expand`: tars in `shards/`, and a `manifest.json`
that is written last. Every tar holds the pictures of one batch of real ones and is moved into place when it is whole,
so a run that was killed makes only what is not there yet.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from augment.editing import EditConfig, Objects, edit, image_to_image, text_to_image
from augment.inputs.images import decode_image, encode_png
from augment.inputs.readers import list_sources, read_bytes
from augment.inputs.tensors import to_images, to_pixels
from augment.models.config import ModelConfig, pinned
from augment.models.interface import LatentDiffusion
from augment.seeding import seed_for
from augment.storage.tar import sha256_file, write_bytes_atomic, write_tar
from augment.study.arms import MakerName, edit_config
from augment.study.config import StudyConfig
from augment.study.tracks import StudyTrack, prompt_for, target_scenes, word_of
from augment.tiny.captions import ANYTHING
from augment.tiny.recognise import round_trip
from augment.types import Source

Sample = tuple[str, dict[str, bytes]]
UNNAMED = "|".join(ANYTHING)  # what captions call an object that they have no word for


@dataclass(frozen=True)
class Wanted:
    """The pictures to make of one batch of real ones, in the order of the real ones.

    Attributes:
        sources, images: the real pictures, [B, 3, H, W] in -1..1, and the bytes of their files.
        scenes: (background, condition) of each wanted picture.
        counts: of each real picture, how many are wanted.
    """

    sources: list[Source]
    files: list[bytes]
    images: Tensor
    scenes: list[tuple[str, str]]
    counts: list[int]

    @property
    def owners(self) -> list[int]:
        """Return for each wanted picture the place of its real one in the batch."""
        return [i for i, count in enumerate(self.counts) for _ in range(count)]

    @property
    def places(self) -> list[int]:
        """Return for each wanted picture its place among those of its real one."""
        return [place for count in self.counts for place in range(count)]

    @property
    def prompts(self) -> list[str]:
        """Return the prompt of each wanted picture."""
        names = [self.sources[i].class_name for i in self.owners]
        return [prompt_for(name, *scene) for name, scene in zip(names, self.scenes, strict=True)]

    @property
    def seeds(self) -> list[int]:
        """Return the seed of each wanted picture's noise: by the real picture's key, the same for every maker."""
        return [seed_for("study", self.sources[i].key, n) for i, n in zip(self.owners, self.places, strict=True)]


def make_synthetic(
    track: StudyTrack, maker: MakerName, config: StudyConfig, load: Callable[[], LatentDiffusion], out: Path
) -> Path:
    """Make a maker's synthetic pictures of a track, as far as they are not there, and return their folder.

    Args:
        load: returns the model; not called where nothing is made with it.
    """
    settings = _settings(track, maker, config)
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
    folder = out / "pictures" / track.name / f"{maker}-{digest}"
    if (folder / "manifest.json").exists():
        return folder
    count = 0
    if maker == "oracle":
        count += write_tar(folder / "shards" / "train-000000.tar", _real_samples(track))
    else:
        train = list_sources(track.tar("train"), "webdataset").sources
        for number, start in enumerate(range(0, len(train), config.batch_size)):
            shard = folder / "shards" / f"train-{number:06d}.tar"
            batch = train[start : start + config.batch_size]
            counts = [track.edits_of(source.label, config.edits_per_image) for source in batch]
            count += sum(counts)
            if not shard.exists():
                wanted = _wanted(track, batch, counts)
                pictures = _made(maker, load(), wanted, edit_config(maker, config.editing))
                write_tar(shard, _samples(maker, wanted, pictures))
    manifest = {"pictures": count, "settings": settings}
    write_bytes_atomic(folder / "manifest.json", (json.dumps(manifest, indent=2) + "\n").encode())
    return folder


@functools.cache
def _pinned(config: ModelConfig) -> ModelConfig:
    return pinned(config)


def count_pictures(folder: Path) -> int:
    """Return the number of pictures in a folder of `make_synthetic`."""
    return int(json.loads((folder / "manifest.json").read_text())["pictures"])


def synthetic_pictures(folder: Path) -> tuple[Tensor, list[str]]:
    """Return the pictures of a folder of `make_synthetic`, [N, 3, H, W] in -1..1, and their class names."""
    sources = list_sources(folder / "shards", "webdataset").sources
    return _images([read_bytes(source) for source in sources]), [source.class_name for source in sources]


def _settings(track: StudyTrack, maker: MakerName, config: StudyConfig) -> dict[str, Any]:
    """Return everything that the pictures depend on. How many are made together is no part of it, but of the files."""
    of_all = {"track": track.name, "maker": maker, "edits_per_image": config.edits_per_image}
    if maker == "oracle":
        return of_all | {"oracle_sha256": sha256_file(track.tar("oracle"))}
    model = _pinned(config.model)
    return of_all | {
        "train_sha256": sha256_file(track.tar("train")),
        "prompts": "canonical",
        "backgrounds": track.spec.backgrounds,
        "conditions": track.spec.conditions,
        "model": model.name,
        "revision": model.revision,
        "dtype": config.model.dtype,
        "editing": edit_config(maker, config.editing).identity(),
        "batch_size": config.batch_size,
    }


def _wanted(track: StudyTrack, batch: list[Source], counts: list[int]) -> Wanted:
    files = [read_bytes(source) for source in batch]
    of_each = [target_scenes(track.spec, source, count) for source, count in zip(batch, counts, strict=True)]
    return Wanted(batch, files, _images(files), [scene for scenes in of_each for scene in scenes], counts)


@torch.no_grad()
def _made(maker: MakerName, model: LatentDiffusion, wanted: Wanted, config: EditConfig) -> Tensor:
    """Return the wanted pictures, [sum of `wanted.counts`, 3, H, W] in -1..1."""
    n, prompts = len(wanted.sources), wanted.prompts
    if maker == "round_trip":  # there is one of each picture only: it comes as often as the others' pictures
        return round_trip(model, wanted.images)[wanted.owners]
    if maker in ("text_to_image", "image_to_image"):
        parts = []
        for start in range(0, len(prompts), n):  # as many at once as there are real pictures
            chunk = slice(start, start + n)
            if maker == "text_to_image":
                parts.append(text_to_image(model, prompts[chunk], wanted.seeds[chunk], config))
            else:
                images = wanted.images[wanted.owners[chunk]]
                parts.append(image_to_image(model, images, prompts[chunk], wanted.seeds[chunk], config))
        return torch.cat(parts)
    captions = [source.caption for source in wanted.sources]
    ends = [0, *itertools.accumulate(wanted.counts)]
    targets = [prompts[start:end] for start, end in itertools.pairwise(ends)]
    seeds = [seed_for("study", source.key) for source in wanted.sources]
    words = [word_of(source.class_name) or UNNAMED for source in wanted.sources]
    result = edit(model, wanted.images, captions, targets, config, seeds=seeds, objects=Objects(words))
    return torch.cat(result.edits)


def _samples(maker: MakerName, wanted: Wanted, pictures: Tensor) -> Iterator[Sample]:
    """Yield the made pictures as samples that name their source, which the leak guard asks for."""
    digests = [hashlib.sha256(data).hexdigest() for data in wanted.files]
    wanted_pictures = zip(wanted.owners, wanted.places, wanted.scenes, to_pixels(pictures), strict=True)
    for owner, place, (background, condition), pixels in wanted_pictures:
        source = wanted.sources[owner]
        if maker == "round_trip":
            background, condition = source.attributes["background"], source.attributes["condition"]
        about = {
            "class_name": source.class_name,
            "background": background,
            "condition": condition,
            "source_key": source.key,
            "source_sha256": digests[owner],
        }
        prompt = prompt_for(source.class_name, background, condition)
        yield _sample(f"{source.key}_{place}", encode_png(pixels), source.label, prompt, about)


def _real_samples(track: StudyTrack) -> Iterator[Sample]:
    """Yield the real, unbiased pictures of the oracle; each is its own source."""
    for source in list_sources(track.tar("oracle"), "webdataset").sources:
        data = read_bytes(source)
        about = {
            "class_name": source.class_name,
            "background": source.attributes["background"],
            "condition": source.attributes["condition"],
            "source_key": source.key,
            "source_sha256": hashlib.sha256(data).hexdigest(),
        }
        yield _sample(source.key, data, source.label, source.caption, about)


def _sample(key: str, png: bytes, label: int, prompt: str, about: dict[str, str]) -> Sample:
    details = json.dumps(about, sort_keys=True).encode()
    return key, {"png": png, "cls": str(label).encode(), "txt": prompt.encode(), "json": details}


def _images(files: Sequence[bytes]) -> Tensor:
    return to_images(np.stack([np.asarray(decode_image(data)) for data in files]))
