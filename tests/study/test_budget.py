"""Fewer synthetic pictures: exactly as many, of every class alike, each number's within the next larger one's."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from augment.errors import ConfigError
from augment.storage.tar import iter_tar, write_tar
from augment.study.budget import fewer_pictures
from augment.study.run import run_study
from tests.study.toy_study import toy_study


def made_of(folder: Path, sources: int = 20, per_image: int = 4, classes: int = 4) -> Path:
    """A folder with numbered pictures, in two tars."""
    for number, start in enumerate(range(0, sources, 12)):
        samples = [
            (f"k{i:03d}_{n}", {"png": b"%d-%d" % (i, n), "cls": b"%d" % (i % classes), "json": json.dumps(
                {"source_key": f"k{i:03d}"}).encode()})
            for i in range(start, min(start + 12, sources))
            for n in range(per_image)
        ]  # fmt: skip
        write_tar(folder / "shards" / f"train-{number:06d}.tar", samples)
    (folder / "manifest.json").write_text(json.dumps({"pictures": sources * per_image}))
    return folder


def keys_of(folder: Path) -> list[str]:
    return [key for shard in sorted((folder / "shards").glob("*.tar")) for key, _ in iter_tar(shard)]


def test_counts_classes_and_nesting(tmp_path: Path) -> None:
    folder = made_of(tmp_path / "maker-0")
    kept = {n: keys_of(fewer_pictures(folder, 4, n)) for n in (0.25, 0.5, 1, 2)}
    assert {n: len(keys) for n, keys in kept.items()} == {0.25: 5, 0.5: 10, 1: 20, 2: 40}
    assert set(kept[0.25]) < set(kept[0.5]) < set(kept[1]) < set(kept[2]) < set(keys_of(folder))
    assert all(key.endswith("_0") for key in kept[1]) and {key[-2:] for key in kept[2]} == {"_0", "_1"}
    of_class = Counter(int(key[1:4]) % 4 for key in kept[0.5])
    assert set(of_class.values()) == {2, 3} and len(of_class) == 4
    assert json.loads((tmp_path / "maker-0-0.25" / "manifest.json").read_text())["pictures"] == 5


def test_of_rare_classes_which_have_more_of_each_real_one_there_are_more(tmp_path: Path) -> None:
    def of(source: str, count: int) -> list[tuple[str, dict[str, bytes]]]:
        record = json.dumps({"source_key": source}).encode()
        return [(f"{source}_{n}", {"png": b"", "cls": b"0", "json": record}) for n in range(count)]

    folder = tmp_path / "maker"
    write_tar(folder / "shards" / "train-000000.tar", [*of("common", 4), *of("rare", 20)])
    (folder / "manifest.json").write_text(json.dumps({"pictures": 24}))
    assert Counter(key.partition("_")[0] for key in keys_of(fewer_pictures(folder, 4, 2))) == {"common": 2, "rare": 10}


def test_of_real_pictures_there_are_as_many_of_each_class(tmp_path: Path) -> None:
    folder = made_of(tmp_path / "oracle", sources=80, per_image=1)
    assert [Counter(int(key[1:4]) % 4 for key in keys_of(fewer_pictures(folder, 4, n))) for n in (0.2, 1, 2)] == [
        dict.fromkeys(range(4), each) for each in (1, 5, 10)
    ]


def test_another_maker_has_the_same_real_pictures(tmp_path: Path) -> None:
    halves = [keys_of(fewer_pictures(made_of(tmp_path / name), 4, 0.5)) for name in ("a", "b")]
    assert halves[0] == halves[1]


def test_the_study_has_a_row_for_each_number(tmp_path: Path, emoji_font: Path) -> None:
    budget = {"tracks": ["marks"], "arms": ["text_to_image"], "edits_per_image": [0.5, 1]}
    report = run_study(toy_study(arms=["none", "text_to_image"], budget=budget), tmp_path / "study")
    assert [(row["arm"], row["edits"]) for row in report["rows"]] == [("none", 0), ("text_to_image", 16)]
    assert [(row["arm"], row["edits"]) for row in report["budget"]] == [("text_to_image", 4), ("text_to_image", 8)]
    for row in report["budget"]:
        run = json.loads((tmp_path / "study" / row["runs"][0] / "report.json").read_text())
        assert (run["pictures"]["synthetic"], run["synthetic_samples"]) == (row["edits"], 12)
    assert (tmp_path / "study" / "budget.png").exists()


def test_what_a_budget_cannot_be() -> None:
    budget = {"tracks": ["marks"], "arms": ["default"], "edits_per_image": [1]}
    with pytest.raises(ValueError, match=r"2, not below edits_per_image \(2\)"):
        toy_study(budget=budget | {"edits_per_image": [2]})
    with pytest.raises(ValueError, match="only whole numbers"):
        toy_study(edits_per_image=3, budget=budget | {"edits_per_image": [1.5]})
    with pytest.raises(ValueError, match=r"budget.arms has default_filtered, which marks has not"):
        toy_study(arms=["none", "default"], budget=budget | {"arms": ["default", "default_filtered"]})
    for arm, problem in (("trivial_augment", "no synthetic pictures"), ("default_filtered", "what a score leaves")):
        with pytest.raises(ConfigError, match=f"{arm} has {problem}"):
            run_study(toy_study(arms=["none", arm], budget=budget | {"arms": [arm]}), Path("never"))
