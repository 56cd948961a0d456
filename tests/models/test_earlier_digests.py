"""Revisions of folders that earlier releases wrote, which left the files of tokenizers out."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from augment.errors import ModelError
from augment.models.config import ClipConfig, ModelConfig, exact_revision, folder_digest, pinned, pinned_clip
from augment.models.segmentation_files import SegmentationConfig, pinned_segmentation
from augment.tiny.packaged import WEIGHTS
from tests.segmentation_models import segformer

Pin = Callable[[str, str], str]
KINDS: dict[str, tuple[Callable[[Path], object], Pin]] = {
    "model": (
        lambda folder: shutil.copytree(WEIGHTS / "pipeline", folder),
        lambda name, revision: pinned(ModelConfig(name=name, revision=revision)).revision,
    ),
    "clip": (
        lambda folder: shutil.copytree(WEIGHTS / "clip", folder),
        lambda name, revision: pinned_clip(ClipConfig(name=name, revision=revision)).revision,
    ),
    "segmentation": (
        segformer,
        lambda name, revision: pinned_segmentation(SegmentationConfig(name=name, revision=revision)).revision,
    ),
    "captions": (
        lambda folder: folder.mkdir(),
        lambda name, revision: exact_revision("caption.model", name, revision, "an/example"),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_revisions_from_before_tokenizers_were_part_of_them_are_known(kind: str, tmp_path: Path) -> None:
    make, pin = KINDS[kind]
    folder = tmp_path / "model"
    make(folder)
    (folder / "words").mkdir()
    (folder / "words/merges.txt").write_text("#version: 0.2\n")
    earlier, now = folder_digest(folder, with_tokenizers=False), folder_digest(folder)
    assert earlier != now
    assert pin(str(folder), "") == pin(str(folder), now) == pin(str(folder), earlier) == now
    (folder / "words/config.json").write_text("{}")
    for revision in (earlier, now, "0" * 16):
        with pytest.raises(ModelError, match="was asked for, but the weights"):
            pin(str(folder), revision)
