"""A loop that goes on: only with the pictures it began with, and the report says how often test was read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from augment.errors import TrainingError
from augment.loop import run as run_module
from augment.loop.config import LoopBudget, LoopConfig
from augment.loop.report import loop_table
from augment.loop.rounds import LoopFolder
from augment.loop.run import run_loop
from augment.storage.tar import iter_tar, write_tar
from tests.loop.toy_loop import MAKE_WORKER, toy_loop
from tests.training.toy import write_split

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")


class Ended(NamedTuple):
    """A loop of one round with edits, whose budget may grow."""

    config: LoopConfig
    out: Path
    report: dict[str, Any]


def loop(config: LoopConfig, out: Path) -> dict[str, Any]:
    return run_loop(config, out, make_worker=MAKE_WORKER)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    folder = tmp_path_factory.mktemp("loop")
    config = toy_loop(folder, patience=5, budget={"edits": 6})
    return Ended(config, folder / "out", loop(config, folder / "out"))


@pytest.fixture
def ended(kept: Ended) -> Any:
    """The loop, and its pictures as they were at first."""
    folder = kept.out.parent
    shutil.copytree(folder, folder.parent / "copy")
    yield kept
    shutil.rmtree(folder)
    (folder.parent / "copy").rename(folder)


def longer(ended: Ended) -> LoopConfig:
    return ended.config.model_copy(update={"budget": LoopBudget(edits=8)})


@pytest.mark.parametrize(("split", "count"), [("val", 14), ("train", 10), ("test", 4)])
def test_a_loop_whose_pictures_are_more_or_fewer_does_not_go_on(ended: Ended, split: str, count: int) -> None:
    write_split(ended.out.parent, split, count)
    name = "real" if split == "train" else split
    with pytest.raises(TrainingError, match=rf"the pictures of {name} have changed since the loop began there: some"):
        loop(longer(ended), ended.out)
    assert not (ended.out / "rounds/2").exists()


def test_nor_does_one_with_as_many_others(ended: Ended) -> None:
    write_split(ended.out.parent, "val2", 12).replace(ended.out.parent / "val.tar")
    with pytest.raises(TrainingError, match=r"the pictures of val have changed"):
        loop(longer(ended), ended.out)


def test_predictions_are_of_the_pictures_that_val_has_now(ended: Ended) -> None:
    """A loop of an earlier version, which has not noted its pictures."""
    settings = json.loads((ended.out / "loop.json").read_text())
    old = {name: value for name, value in settings.items() if not name.startswith("pictures.")}
    assert len(settings) - len(old) == 3
    (ended.out / "loop.json").write_text(json.dumps(old))
    val = ended.out.parent / "val.tar"
    write_tar(val, [(f"other{key}", files) for key, files in iter_tar(val)])
    with pytest.raises(TrainingError, match=r"predictions.csv is of other pictures than val now has"):
        loop(longer(ended), ended.out)


def test_a_loop_of_an_earlier_version_goes_on_and_notes_its_pictures(tmp_path: Path) -> None:
    folder = LoopFolder(tmp_path)
    folder.check({"focus": 1.0})
    with pytest.raises(TrainingError, match=r"focus: 1.0 there, 2.0 now"):
        folder.check({"focus": 2.0, "pictures.val": "a"})
    folder.check({"focus": 1.0, "pictures.val": "b"})
    with pytest.raises(TrainingError, match=r"the pictures of val have changed"):
        folder.check({"focus": 1.0, "pictures.val": "a"})
    folder.check({"focus": 1.0, "pictures.val": "b"})


def test_every_round_that_test_was_read_for_is_in_the_report(ended: Ended, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ended.report["best_round"]
    figures = ended.report["test"]
    assert ended.report["test_read"] == [{"round": first, **{n: figures[n] for n in ("accuracy", "worst_group")}}]
    assert "Test, read once, by that round's" in loop_table(ended.report)[-1]
    monkeypatch.setattr(run_module, "best_round", lambda rows, select_by: len(rows) - 1)
    report = loop(longer(ended), ended.out)
    assert report["best_round"] == 2 != first
    assert [row["round"] for row in report["test_read"]] == [first, 2]
    assert report["test_read"][1]["accuracy"] == report["test"]["accuracy"]
    also = rf"Test, also read for round {first} before the loop went on, by that round's classifier: accuracy"
    assert also in (ended.out / "report.md").read_text()
