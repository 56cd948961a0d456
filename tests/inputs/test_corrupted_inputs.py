"""Damaged datasets end in a message, or in error rows for the images that cannot be used: never in a traceback."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml

from augment.errors import ImageError, InputError
from augment.inputs.images import decode_image
from augment.inputs.readers import InputFormat, list_sources, read_bytes
from augment.run.config import load_expand_config
from augment.run.dry_run import dry_run
from augment.types import Source
from tests.cli.invoke import invoke
from tests.inputs.corruptions import CLASSES, KINDS, corrupt, make

FEW, MANY = 100, 1000
FORMAT_OF: dict[str, InputFormat] = {"imagefolder": "imagefolder", "flat": "flat", "webdataset": "webdataset"}
WORDS = {"flat": {0: "fox"}, "webdataset": dict(enumerate(CLASSES))}


def outcome(path: Path, kind: str) -> str:
    """Return `refused` by the listing, `rows` if some image cannot be used, else `none`."""
    try:
        sources = list_sources(path, FORMAT_OF.get(kind, "manifest"), WORDS.get(kind)).sources
    except InputError as error:
        return "refused" if str(path.parent) in str(error) or "label" in str(error) else f"without a place: {error}"
    return "rows" if sum(map(is_bad, sources)) else "none"


def is_bad(source: Source) -> bool:
    """Whether an image becomes an error row."""
    try:
        pixels = np.asarray(decode_image(read_bytes(source), 16))
    except (InputError, ImageError):
        return True
    assert pixels.shape == (16, 16, 3) and pixels.dtype == np.uint8
    return False


def outcomes(tmp_path: Path, seeds: range) -> Counter[str]:
    found: Counter[str] = Counter()
    for seed in seeds:
        kind = KINDS[seed % len(KINDS)]
        path = make(tmp_path / str(seed), kind)
        how = corrupt(path, kind, seed)
        try:
            found[outcome(path, kind)] += 1
        except Exception as error:
            raise AssertionError(f"seed {seed}, {kind}, {how}") from error
        shutil.rmtree(tmp_path / str(seed))
    return found


def test_a_sound_dataset_has_no_fault(tmp_path: Path) -> None:
    for kind in KINDS:
        assert outcome(make(tmp_path / kind, kind), kind) == "none"


def test_no_damage_ends_in_a_traceback(tmp_path: Path) -> None:
    found = outcomes(tmp_path, range(FEW))
    assert set(found) == {"refused", "rows", "none"} and min(found.values()) >= 10


@pytest.mark.slow
def test_no_damage_ends_in_a_traceback_however_many_are_drawn(tmp_path: Path) -> None:
    assert set(outcomes(tmp_path, range(FEW, MANY))) == {"refused", "rows", "none"}


def test_the_commands_end_with_two_or_go_on(tmp_path: Path) -> None:
    (tmp_path / "prompts.yaml").write_text(yaml.safe_dump({"templates": ["a {class}"], "attributes": {}}))
    codes: Counter[int] = Counter()
    for seed in range(5_000, 5_040):
        kind = KINDS[seed % len(KINDS)]
        path = make(tmp_path / str(seed), kind)
        how = corrupt(path, kind, seed)
        words = {str(label): word for label, word in WORDS.get(kind, {}).items()}
        section = {"path": str(path), "format": FORMAT_OF.get(kind, "manifest"), "image_size": 64, "class_names": words}
        job = {"input": section, "output": {"path": str(tmp_path / "out")}, "prompts": "prompts.yaml"}
        (tmp_path / "job.yaml").write_text(yaml.safe_dump(job | {"filters": {"min_label_probability": None}}))
        result = invoke("validate", tmp_path / "job.yaml")
        assert result.exception is None or isinstance(result.exception, SystemExit), f"seed {seed}, {kind}, {how}"
        codes[result.exit_code] += 1
        if result.exit_code == 0:
            assert dry_run(load_expand_config(tmp_path / "job.yaml")).sources > 0
    assert set(codes) == {0, 2} and min(codes.values()) >= 5
