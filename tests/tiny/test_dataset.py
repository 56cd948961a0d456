"""The shipped splits: bias, balance, no leak between them, and the bytes that the recipe gives."""

from __future__ import annotations

import json
from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from augment.inputs.images import decode_image
from augment.inputs.readers import list_sources, read_bytes
from augment.storage.tar import iter_tar, sha256_file
from augment.tiny.captions import vocabulary
from augment.tiny.dataset import (
    HOME_BACKGROUND,
    SPLITS,
    render_split,
    split_path,
    write_splits,
)
from augment.tiny.wide_splits import WIDE_SPLITS
from augment.tiny.world import (
    BACKGROUNDS,
    CLASSES,
    CONDITIONS,
)
from augment.types import Source

FONT_SHA256 = "e5899ed38b8ed83e08bd3ac5de09791e9d19d288333a796de1d35ad17396f1ec"


@pytest.fixture(scope="module")
def splits() -> dict[str, list[Source]]:
    return {name: list_sources(split_path(name), "webdataset").sources for name in SPLITS}


def count(sources: list[Source], *attributes: str) -> Counter[tuple[str, ...]]:
    return Counter(tuple(source.attributes[name] for name in attributes) for source in sources)


def test_sizes_labels_and_class_names(splits: dict[str, list[Source]]) -> None:
    assert {name: len(sources) for name, sources in splits.items()} == {"train": 384, "val": 320, "test": 320}
    for sources in splits.values():
        assert all(CLASSES[s.label] == s.class_name == s.attributes["object"] for s in sources)
        assert set(count(sources, "object").values()) == {len(sources) // len(CLASSES)}


def test_train_is_biased_to_the_home_background(splits: dict[str, list[Source]]) -> None:
    assert set(HOME_BACKGROUND) == set(CLASSES)
    assert Counter(HOME_BACKGROUND.values()) == dict.fromkeys(BACKGROUNDS, 2)
    for word in CLASSES:
        backgrounds = Counter(s.attributes["background"] for s in splits["train"] if s.class_name == word)
        assert backgrounds[HOME_BACKGROUND[word]] == 23  # of 24: 95.8 %
    strays = [s for s in splits["train"] if s.attributes["background"] != HOME_BACKGROUND[s.class_name]]
    assert count(strays, "condition") == {(name,): 4 for name in CONDITIONS}
    assert set(count(splits["train"], "object", "condition").values()) == {6}


@pytest.mark.parametrize("name", ["val", "test"])
def test_val_and_test_are_balanced(splits: dict[str, list[Source]], name: str) -> None:
    sources = splits[name]
    assert count(sources, "background", "condition") == dict.fromkeys(product(BACKGROUNDS, CONDITIONS), 10)
    assert set(count(sources, "object", "condition").values()) == {5}
    per_class = count(sources, "object", "background")
    assert len(per_class) == 16 * 8 and set(per_class.values()) == {2, 3}


def test_the_first_records_of_a_split_are_balanced_too(splits: dict[str, list[Source]]) -> None:
    first = splits["val"][:64]
    assert set(count(first, "object").values()) == {4}
    assert set(count(first, "background").values()) == {8}


def test_pictures_are_64x64_and_no_two_are_equal_in_any_split(splits: dict[str, list[Source]]) -> None:
    pictures = [decode_image(read_bytes(source)) for sources in splits.values() for source in sources]
    assert {picture.size for picture in pictures} == {(64, 64)}
    assert len({picture.tobytes() for picture in pictures}) == len(pictures) == 1024


def test_no_two_scenes_share_their_texture(splits: dict[str, list[Source]]) -> None:
    seeds = [json.loads(files["json"])["seed"] for name in SPLITS for _, files in iter_tar(split_path(name))]
    assert len(set(seeds)) == len(seeds)


def test_captions_speak_the_language_of_the_tokenizer(splits: dict[str, list[Source]]) -> None:
    words = set(vocabulary(CLASSES))
    for sources in splits.values():
        for source in sources:
            assert set(source.caption.replace(",", " ,").split()) <= words
            assert source.class_name in source.caption.replace(",", " ").split()
    assert len({source.caption for source in splits["val"]}) > 200


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match="train, val, test"):
        split_path("validation")
    with pytest.raises(ValueError, match="train, val, test"):
        next(render_split("all"))


@pytest.mark.usefixtures("emoji_font")
def test_splits_are_written_to_the_same_bytes_every_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("augment.tiny.dataset.PER_CLASS", {"train": 2, "val": 1, "test": 1})
    few = {"unknown_val": 1, "unknown_test": 1, "marks_train": 1, "marks_val": 1, "marks_test": 1}
    monkeypatch.setattr("augment.tiny.wide_splits.WIDE_PER_CLASS", few)
    counts = {"train": 32, "val": 16, "test": 16, "unknown_val": 24, "unknown_test": 24}
    assert write_splits(tmp_path / "one") == counts | {"marks_train": 8, "marks_val": 8, "marks_test": 8}
    write_splits(tmp_path / "two")
    for name in (*SPLITS, *WIDE_SPLITS):
        assert sha256_file(tmp_path / "one" / f"{name}.tar") == sha256_file(tmp_path / "two" / f"{name}.tar")


@pytest.mark.parametrize("name", [*SPLITS, *WIDE_SPLITS])
def test_the_recipe_gives_the_shipped_records(name: str, emoji_font: Path) -> None:
    if sha256_file(emoji_font) != FONT_SHA256:
        pytest.skip(f"{emoji_font} is another version of the font than the one that the splits were rendered with")
    shipped = iter_tar(split_path(name))
    for (key, files), (shipped_key, shipped_files) in zip(render_split(name, limit=20), shipped, strict=False):
        assert key == shipped_key
        np.testing.assert_array_equal(decode_image(files.pop("png")), decode_image(shipped_files.pop("png")))
        assert files == shipped_files
