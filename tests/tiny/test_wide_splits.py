"""The splits of things that no caption names: what they hold, in equal parts, and how a run reads them."""

from __future__ import annotations

import json
from collections import Counter
from itertools import product

import pytest

from augment.inputs.packaged import packaged_path
from augment.inputs.readers import list_sources
from augment.storage.tar import iter_tar
from augment.tiny.captions import ANYTHING, vocabulary
from augment.tiny.dataset import split_path
from augment.tiny.glyphs import CLASSES, glyph_names
from augment.tiny.wide_splits import MARK_CLASSES, MARKED_OBJECTS, UNKNOWN_CLASSES, WIDE_PER_CLASS, WIDE_SPLITS
from augment.tiny.world import BACKGROUNDS, CONDITIONS
from augment.types import Source


@pytest.fixture(scope="module")
def splits() -> dict[str, list[Source]]:
    return {name: list_sources(split_path(name), "webdataset").sources for name in WIDE_SPLITS}


def test_sizes_and_labels(splits: dict[str, list[Source]]) -> None:
    sizes = {name: len(sources) for name, sources in splits.items()}
    assert sizes == {"unknown_val": 96, "unknown_test": 96, "marks_train": 80, "marks_val": 48, "marks_test": 48}
    for name, sources in splits.items():
        classes = UNKNOWN_CLASSES if name.startswith("unknown") else MARK_CLASSES
        assert Counter(s.class_name for s in sources) == dict.fromkeys(classes, WIDE_PER_CLASS[name])
        assert all(classes[s.label] == s.class_name for s in sources)
    assert sum(split_path(name).stat().st_size for name in WIDE_SPLITS) <= 3_000_000


def test_unknown_objects_are_held_out_and_their_captions_name_the_scene_only(splits: dict[str, list[Source]]) -> None:
    words = set(vocabulary(CLASSES))
    for source in splits["unknown_val"] + splits["unknown_test"]:
        assert source.class_name in glyph_names("held_out")
        assert any(thing in source.caption for thing in ANYTHING)
        spoken = set(source.caption.replace(",", " ,").split())
        assert spoken <= words and not spoken & set(CLASSES)


def test_backgrounds_and_conditions_are_balanced_and_new_to_each_object_in_the_test_split(
    splits: dict[str, list[Source]],
) -> None:
    for name in ("unknown_val", "unknown_test"):
        pairs = Counter((s.attributes["background"], s.attributes["condition"]) for s in splits[name])
        assert pairs == dict.fromkeys(product(BACKGROUNDS, CONDITIONS), 3)
    val, test = (
        {(s.class_name, s.attributes["background"]) for s in splits[name]} for name in ("unknown_val", "unknown_test")
    )
    assert len(val) == len(test) == 96 and not val & test


def test_pairs_of_classes_differ_by_a_mark_that_no_caption_names(splits: dict[str, list[Source]]) -> None:
    assert len(MARK_CLASSES) == 8
    for name in ("marks_train", "marks_val", "marks_test"):
        for source in splits[name]:
            plain = source.class_name == source.attributes["object"]
            mark = "none" if plain else MARKED_OBJECTS[source.attributes["object"]].shape
            assert source.attributes["mark"] == mark
            assert source.class_name == (
                source.attributes["object"] if plain else f"{source.attributes['object']} with a {mark}"
            )
            assert source.attributes["object"] in source.caption and (plain or mark not in source.caption)


def test_no_two_scenes_share_their_texture() -> None:
    names = (*WIDE_SPLITS, "train", "val", "test")
    seeds = [json.loads(files["json"])["seed"] for name in names for _, files in iter_tar(split_path(name))]
    assert len(set(seeds)) == len(seeds) == 1024 + 368


@pytest.mark.parametrize("name", WIDE_SPLITS)
def test_a_run_reads_them_by_name(name: str) -> None:
    assert packaged_path(f"embedded:{name}") == str(split_path(name))
