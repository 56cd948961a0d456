"""A dataset that grows: only what is new is made, what is wanted stays, and the result is that of a fresh run."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from augment.dataset.index import read_index
from augment.dataset.overview import FILES
from augment.dataset.verify import verify
from augment.errors import OutputError
from augment.ledger.ledger import Ledger
from augment.run.config import WorkerConfig, load_expand_config
from augment.run.dry_run import dry_run
from augment.run.expand import expand
from augment.run.finalize import Summary
from augment.run.simulate import SimulatedEditor
from augment.run.worker import Worker
from augment.storage.tar import iter_tar
from augment.types import UnitReport, UnitTask
from tests.memory_store import Killed
from tests.run.runs import published, written

PROMPTS = {
    "templates": ["a picture of {a_class} {place} {weather}"],
    "attributes": {
        "place": [{"name": name, "text": f"on {name}"} for name in ("snow", "grass", "sand", "rock")],
        "weather": [{"name": name, "text": f"in {name}"} for name in ("fog", "rain", "sun")],
    },
}
CLASSES = {"fox": 14, "owl": 13, "car": 13}


class House:
    """A dataset, its config and its output, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.images, self.out = folder, folder / "images", folder / "out"
        self.prompts = yaml.safe_load(yaml.safe_dump(PROMPTS))
        self.options: dict[str, object] = {"variants_per_image": 4, "run.unit_size": 4, "run.batch_size": 3}
        for number, (name, count) in enumerate(CLASSES.items()):
            for i in range(count):
                self.add(name, f"{i:03}", 100 * number + i)

    def add(self, class_name: str, stem: str, seed: int) -> None:
        path = self.images / class_name / f"{stem}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)

    def overrides(self, out: Path) -> list[str]:
        (self.folder / "prompts.yaml").write_text(yaml.safe_dump(self.prompts))
        config = {
            "input": {"path": str(self.images), "format": "imagefolder", "image_size": 8},
            "prompts": "prompts.yaml",
            "output": {"path": "out"},
            "run": {"executor": "local"},
        }
        (self.folder / "config.yaml").write_text(yaml.safe_dump(config))
        return [f"output.path={out}", *(f"{name}={value}" for name, value in self.options.items())]

    def load(self, out: Path):  # type: ignore[no-untyped-def]
        overrides = self.overrides(out)  # writes the file
        return load_expand_config(self.folder / "config.yaml", overrides)

    def expand(self, out: Path | None = None, **more: object) -> Summary:
        make = more.pop("make_worker", partial(Worker, make_editor=SimulatedEditor))
        return expand(self.load(out or self.out), make_worker=make, **more)  # type: ignore[arg-type]

    def counts(self) -> tuple[int, int, int]:
        """What `plan` says: new, kept, dropped."""
        report = dry_run(self.load(self.out)).as_dict()
        return report["new"], report["kept"], report["dropped"]

    def fresh(self) -> dict[str, str]:
        """What a run into a new folder publishes."""
        shutil.rmtree(self.folder / "fresh", ignore_errors=True)
        self.expand(self.folder / "fresh")
        return published(self.folder / "fresh")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    house = House(tmp_path_factory.mktemp("house"))
    house.expand()
    return house.folder


@pytest.fixture
def house(finished: Path, tmp_path: Path) -> House:
    shutil.copytree(finished, tmp_path / "house")
    copy = House.__new__(House)
    copy.folder = tmp_path / "house"
    copy.images, copy.out = copy.folder / "images", copy.folder / "out"
    copy.prompts = yaml.safe_load(yaml.safe_dump(PROMPTS))
    copy.options = {"variants_per_image": 4, "run.unit_size": 4, "run.batch_size": 3}
    return copy


def more_images(house: House) -> tuple[int, int, int]:
    house.add("fox", "new", 1001)
    house.add("owl", "another", 1002)
    return 8, 160, 0


def fewer_images(house: House) -> tuple[int, int, int]:
    (house.images / "fox" / "003.png").unlink()
    return 0, 156, 4


def more_variants(house: House) -> tuple[int, int, int]:
    house.options["variants_per_image"] = 6
    return 80, 160, 0


def fewer_variants(house: House) -> tuple[int, int, int]:
    house.options["variants_per_image"] = 3
    return 0, 120, 40


def replaced_image(house: House) -> tuple[int, int, int]:
    before = (house.images / "car" / "005.png").stat().st_size
    image = Image.fromarray(np.zeros((9, 9, 3), np.uint8))
    image.save(house.images / "car" / "005.png")
    assert (house.images / "car" / "005.png").stat().st_size != before
    return 4, 156, 4


def renamed_class(house: House) -> tuple[int, int, int]:
    """Its edits are made anew, and all others are scored anew: they are compared with another word."""
    house.options["input.class_names"] = "{fox: arctic fox, owl: owl, car: car, ant: ant}"
    return 14 * 4, 26 * 4, 14 * 4


def new_class(house: House) -> tuple[int, int, int]:
    """It comes first, so every other class has another label."""
    house.add("ant", "000", 1003)
    house.add("ant", "001", 1004)
    return 8, 160, 0


def other_unit_size(house: House) -> tuple[int, int, int]:
    house.options["run.unit_size"] = 7
    return 0, 160, 0


def other_scores(house: House) -> tuple[int, int, int]:
    house.options["clip.label_templates"] = "['a {class}']"
    return 0, 160, 0


CHANGES = (
    more_images,
    fewer_images,
    more_variants,
    fewer_variants,
    replaced_image,
    renamed_class,
    new_class,
    other_unit_size,
    other_scores,
)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_only_what_is_new_is_made(house: House, change: Callable[[House], tuple[int, int, int]]) -> None:
    expected = change(house)
    assert house.counts() == expected
    summary = house.expand()
    assert summary.edits_made == expected[0]
    assert published(house.out) == house.fresh()
    assert verify(house.out, FILES).problems == []
    assert house.counts() == (0, expected[0] + expected[1], 0)
    before = written(house.out)
    assert house.expand().edits_made == 0
    assert written(house.out) == before


def test_a_prompt_value_less_drops_its_edits_alone(house: House) -> None:
    """Every combination keeps its place in the draw, so no other edit changes but those that come in its place."""
    index = list(read_index(house.out / "index.parquet", ["target_attributes"]))
    lost = sum('"place": "rock"' in row["target_attributes"] for row in index)
    house.prompts["attributes"]["place"].pop()
    new, kept, dropped = house.counts()
    assert (new, kept, dropped) == (lost, 160 - lost, lost)
    assert house.expand().edits_made == lost
    assert published(house.out) == house.fresh()


def test_pictures_that_stay_are_the_same_bytes(house: House) -> None:
    def pictures() -> dict[str, bytes]:
        found = (
            sample
            for name in ("shards", "rejected")
            for p in (house.out / name).glob("*.tar")
            for sample in iter_tar(p)
        )
        return {key: files["png"] for key, files in found}

    before = pictures()
    new_class(house)
    house.expand()
    after = pictures()
    assert {key: after[key] for key in before} == before
    assert len(after) == len(before) + 8


def test_one_change_after_the_other_with_kills_between(house: House) -> None:
    chance = random.Random(0)

    class Mortal(Worker):
        """A worker whose process ends now and then."""

        def run_unit(self, task: UnitTask) -> UnitReport:
            if chance.random() < 0.3:
                raise Killed
            report = super().run_unit(task)
            if chance.random() < 0.2:
                raise Killed
            return report

    kills = 0
    for change in (more_images, more_variants, replaced_image, new_class, renamed_class, fewer_images):
        change(house)
        _, _, dropped = house.counts()
        while True:
            try:
                house.expand(make_worker=partial(Mortal, make_editor=SimulatedEditor))
                break
            except Killed:
                kills += 1
            assert house.counts()[2] == dropped  # what goes is known beforehand, and in between
        assert house.counts()[::2] == (0, 0)
    assert kills >= 10
    assert published(house.out) == house.fresh()
    assert verify(house.out, FILES).problems == []
    plan = Ledger(house.out).read_plan()
    assert plan is not None
    assert len(list((house.out / "parts").iterdir())) == plan.units  # nothing of the old plans is left


def test_back_to_the_old_plan_in_the_middle_makes_nothing(house: House) -> None:
    def dies(config: WorkerConfig) -> Worker:
        raise Killed

    before = published(house.out)
    more_variants(house)
    with pytest.raises(Killed):
        house.expand(make_worker=dies)
    house.options["variants_per_image"] = 4
    assert house.expand(make_worker=dies).edits_made == 0
    assert published(house.out) == before
    assert len({p.name[:22] for p in (house.out / "plan").glob("units-*")}) == 1


def test_a_repaired_image_is_made_again_with_or_without_the_flag(house: House) -> None:
    path = house.images / "owl" / "004.png"
    good = path.read_bytes()
    path.write_bytes(good[:60])
    assert house.expand().manifest["failed"] == 4
    assert house.counts() == (0, 160, 0)  # what failed stays so until something changes
    path.write_bytes(good)
    assert house.counts() == (4, 156, 0)
    assert house.expand(retry_failed=True).edits_made == 4
    assert published(house.out) == house.fresh()


def test_an_image_that_changes_under_its_size(house: House) -> None:
    """A BMP has the same size whatever it shows; a copy of the dataset has other times and changes nothing."""
    for path in house.images.rglob("*.png"):
        with Image.open(path) as picture:
            picture.save(path.with_suffix(".bmp"))
        path.unlink()
    house.expand(replace=True)
    path = house.images / "owl" / "004.bmp"
    before, good = published(house.out), path.read_bytes()
    for other in house.images.rglob("*.bmp"):
        os.utime(other, (1, 1))
    assert house.counts() == (0, 160, 0)
    assert house.expand().edits_made == 0
    path.write_bytes(good[:-20] + bytes(20))
    assert house.counts() == (4, 156, 4)
    assert house.expand().edits_made == 4
    changed = published(house.out)
    assert changed == house.fresh() != before
    assert house.expand().edits_made == 0
    path.write_bytes(good)
    assert house.expand().edits_made == 4
    assert published(house.out) == before == house.fresh()


def test_a_change_is_not_forgotten_by_a_run_that_is_killed(house: House) -> None:
    path = house.images / "owl" / "004.png"
    house.expand()  # has seen it
    path.write_bytes(path.read_bytes()[:-30] + bytes(30))

    def dies(config: WorkerConfig) -> Worker:
        raise Killed

    with pytest.raises(Killed):
        house.expand(make_worker=dies)
    assert house.counts() == (4, 156, 4)
    house.expand()
    assert published(house.out) == house.fresh()


def test_retry_makes_failed_edits_alone(house: House) -> None:
    """The reason was outside of the folder: nothing that is listed has changed."""
    house.add("fox", "later", 1001)

    class Away(SimulatedEditor):
        def edit(self, batch):  # type: ignore[no-untyped-def]
            raise ValueError("not today")

    assert house.expand(make_worker=partial(Worker, make_editor=Away)).manifest["failed"] == 4
    assert house.expand().edits_made == 0
    assert house.expand(retry_failed=True).edits_made == 4
    assert published(house.out) == house.fresh()


def test_other_pixels_are_refused_until_all_is_made_again(house: House) -> None:
    house.options["editing.num_steps"] = 7
    before = written(house.out)
    with pytest.raises(OutputError, match=r"(?s)editing\.num_steps: \d+ in the plan, 7 now.*--replace"):
        house.expand()
    assert written(house.out) == before
    assert house.counts() == (160, 0, 160)
    assert house.expand(replace=True).edits_made == 160
    assert published(house.out) == house.fresh()


def test_edits_of_another_output_are_taken_over(house: House) -> None:
    house.options["reuse"] = f"[{house.out}]"
    more_images(house)
    other = house.folder / "other"
    assert dry_run(house.load(other)).as_dict()["new"] == 8
    assert house.expand(other).edits_made == 8
    shutil.rmtree(house.out)
    del house.options["reuse"]
    assert published(other) == house.fresh()


def test_a_part_that_is_gone_is_made_again(house: House) -> None:
    new_class(house)
    for path in (house.out / "parts").iterdir():
        data = bytearray(path.read_bytes())
        data[600] ^= 1
        path.write_bytes(data)
    assert house.expand().edits_made == 168
    assert published(house.out) == house.fresh()


def test_an_output_to_reuse_must_be_one(house: House, tmp_path: Path) -> None:
    house.options["reuse"] = f"[{tmp_path / 'nothing'}]"
    with pytest.raises(OutputError, match=r"reuse: .*nothing has no plan/plan\.json"):
        house.expand(tmp_path / "new")
