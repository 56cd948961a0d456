"""A dataset that grows: only what is new is made, what is wanted stays, and the result is that of a fresh run."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from augment.dataset.index import read_index
from augment.dataset.overview import FILES
from augment.dataset.verify import verify
from augment.errors import ConfigError, OutputError
from augment.ledger.ledger import Ledger
from augment.run.dry_run import dry_run
from augment.run.simulate import SimulatedEditor
from augment.run.worker import Worker
from augment.run.worker_config import WorkerConfig
from augment.storage.tar import iter_tar
from augment.types import UnitReport, UnitTask
from tests.memory_store import Killed
from tests.run.growing import (
    CHANGES,
    GrowingJob,
    fewer_images,
    more_images,
    more_variants,
    new_class,
    renamed_class,
    replaced_image,
)
from tests.run.runs import published, written

NAMED = {change.__name__: change for change in CHANGES}
OFTEN = {"more_images", "more_variants", "new_class", "replaced_image"}  # what changes a dataset most often


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    job = GrowingJob(tmp_path_factory.mktemp("growing"))
    job.add_all()
    job.expand()
    return job.folder


@pytest.fixture
def job(finished: Path, tmp_path: Path) -> GrowingJob:
    return GrowingJob(Path(shutil.copytree(finished, tmp_path / "job")))


@pytest.mark.parametrize(
    "change",
    [pytest.param(change, id=name, marks=[pytest.mark.slow] * (name not in OFTEN)) for name, change in NAMED.items()],
)
def test_only_what_is_new_is_made(job: GrowingJob, change: Callable[[GrowingJob], tuple[int, int, int]]) -> None:
    expected = change(job)
    assert job.counts() == expected
    summary = job.expand()
    assert summary.edits_made == expected[0]
    assert published(job.out) == job.fresh()
    assert verify(job.out, FILES).problems == []
    assert job.counts() == (0, expected[0] + expected[1], 0)
    before = written(job.out)
    assert job.expand().edits_made == 0
    assert written(job.out) == before


def test_a_prompt_value_less_drops_its_edits_alone(job: GrowingJob) -> None:
    """Every combination keeps its place in the draw, so no other edit changes but those that come in its place."""
    index = list(read_index(job.out / "index.parquet", ["target_attributes"]))
    lost = sum('"place": "rock"' in row["target_attributes"] for row in index)
    job.prompts["attributes"]["place"].pop()
    new, kept, dropped = job.counts()
    assert (new, kept, dropped) == (lost, 160 - lost, lost)
    assert job.expand().edits_made == lost
    assert published(job.out) == job.fresh()


def test_pictures_that_stay_are_the_same_bytes(job: GrowingJob) -> None:
    def pictures() -> dict[str, bytes]:
        found = (
            sample for name in ("shards", "rejected") for p in (job.out / name).glob("*.tar") for sample in iter_tar(p)
        )
        return {key: files["png"] for key, files in found}

    before = pictures()
    new_class(job)
    job.expand()
    after = pictures()
    assert {key: after[key] for key in before} == before
    assert len(after) == len(before) + 8


@pytest.mark.slow
def test_one_change_after_the_other_with_kills_between(job: GrowingJob) -> None:
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
        change(job)
        _, _, dropped = job.counts()
        while True:
            try:
                job.expand(make_worker=partial(Mortal, make_editor=SimulatedEditor))
                break
            except Killed:
                kills += 1
            assert job.counts()[2] == dropped  # what goes is known beforehand, and in between
        assert job.counts()[::2] == (0, 0)
    assert kills >= 10
    assert published(job.out) == job.fresh()
    assert verify(job.out, FILES).problems == []
    plan = Ledger(job.out).read_plan()
    assert plan is not None
    assert len(list((job.out / "parts").iterdir())) == plan.units  # nothing of the old plans is left


def test_back_to_the_old_plan_in_the_middle_makes_nothing(job: GrowingJob) -> None:
    def dies(config: WorkerConfig) -> Worker:
        raise Killed

    before = published(job.out)
    more_variants(job)
    with pytest.raises(Killed):
        job.expand(make_worker=dies)
    job.options["variants_per_image"] = 4
    assert job.expand(make_worker=dies).edits_made == 0
    assert published(job.out) == before
    assert len({p.name[:22] for p in (job.out / "plan").glob("units-*")}) == 1


def test_a_repaired_image_is_made_again_with_or_without_the_flag(job: GrowingJob) -> None:
    path = job.images / "owl" / "004.png"
    good = path.read_bytes()
    path.write_bytes(good[:60])
    assert job.expand().manifest["failed"] == 4
    assert job.counts() == (0, 160, 0)  # what failed stays so until something changes
    path.write_bytes(good)
    assert job.counts() == (4, 156, 0)
    assert job.expand(retry_failed=True).edits_made == 4
    assert published(job.out) == job.fresh()


def test_an_image_that_changes_under_its_size(job: GrowingJob) -> None:
    """A BMP has the same size whatever it shows; a copy of the dataset has other times and changes nothing."""
    for path in job.images.rglob("*.png"):
        with Image.open(path) as picture:
            picture.save(path.with_suffix(".bmp"))
        path.unlink()
    job.expand(replace=True)
    path = job.images / "owl" / "004.bmp"
    before, good = published(job.out), path.read_bytes()
    for other in job.images.rglob("*.bmp"):
        os.utime(other, (1, 1))
    assert job.counts() == (0, 160, 0)
    assert job.expand().edits_made == 0
    path.write_bytes(good[:-20] + bytes(20))
    assert job.counts() == (4, 156, 4)
    assert job.expand().edits_made == 4
    changed = published(job.out)
    assert changed == job.fresh() != before
    assert job.expand().edits_made == 0
    path.write_bytes(good)
    assert job.expand().edits_made == 4
    assert published(job.out) == before == job.fresh()


def test_a_change_is_not_forgotten_by_a_run_that_is_killed(job: GrowingJob) -> None:
    path = job.images / "owl" / "004.png"
    job.expand()  # has seen it
    path.write_bytes(path.read_bytes()[:-30] + bytes(30))

    def dies(config: WorkerConfig) -> Worker:
        raise Killed

    with pytest.raises(Killed):
        job.expand(make_worker=dies)
    assert job.counts() == (4, 156, 4)
    job.expand()
    assert published(job.out) == job.fresh()


def test_retry_makes_failed_edits_alone(job: GrowingJob) -> None:
    """The reason was outside of the folder: nothing that is listed has changed."""
    job.add("fox", "later", 1001)

    class Away(SimulatedEditor):
        def edit(self, batch):  # type: ignore[no-untyped-def]
            raise ValueError("not today")

    assert job.expand(make_worker=partial(Worker, make_editor=Away)).manifest["failed"] == 4
    assert job.expand().edits_made == 0
    assert job.expand(retry_failed=True).edits_made == 4
    assert published(job.out) == job.fresh()


def test_retry_by_stage_leaves_what_failed_elsewhere(job: GrowingJob) -> None:
    job.add("fox", "later", 1001)
    job.add("owl", "poison", 1002)

    class Away(SimulatedEditor):
        def edit(self, batch):  # type: ignore[no-untyped-def]
            raise ValueError("not today")

    def dies(config: WorkerConfig) -> Worker:
        raise Killed

    with pytest.raises(Killed):
        job.expand(make_worker=dies)  # makes the plan, before which there are no suspects
    units = {p.source.key: unit.unit_id for unit in Ledger(job.out).units() for p in unit.sources}
    assert units["fox/later"] != units["owl/poison"]
    Ledger(job.out).store.write("run/suspects.json", b'{"owl/poison": 2}')
    assert job.expand(make_worker=partial(Worker, make_editor=Away)).manifest["failed"] == 8
    assert job.expand(retry_failed=["read", "worker"]).edits_made == 0
    assert job.expand(retry_failed=["edit"]).edits_made == 4
    assert job.expand(retry_failed=["quarantine"]).edits_made == 4
    assert published(job.out) == job.fresh()


def test_other_pixels_are_refused_until_all_is_made_again(job: GrowingJob) -> None:
    job.options["editing.num_steps"] = 7
    before = written(job.out)
    with pytest.raises(OutputError, match=r"(?s)editing\.num_steps: \d+ in the plan, 7 now.*--replace"):
        job.expand()
    assert written(job.out) == before
    assert job.counts() == (160, 0, 160)
    assert job.expand(replace=True).edits_made == 160
    assert published(job.out) == job.fresh()


def test_edits_of_another_output_are_taken_over(job: GrowingJob) -> None:
    job.options["reuse"] = f"[{job.out}]"
    more_images(job)
    other = job.folder / "other"
    assert dry_run(job.load(other)).as_dict()["new"] == 8
    assert job.expand(other).edits_made == 8
    shutil.rmtree(job.out)
    del job.options["reuse"]
    assert published(other) == job.fresh()


def damage(part: Path) -> None:
    """Change one bit of a part, in its first member: the end of a tar is padding."""
    data = bytearray(part.read_bytes())
    data[600] ^= 1
    part.write_bytes(data)


def test_a_part_that_is_gone_is_made_again(job: GrowingJob) -> None:
    new_class(job)
    for path in (job.out / "parts").iterdir():
        damage(path)
    assert job.expand().edits_made == 168
    assert published(job.out) == job.fresh()


def test_a_damaged_part_with_failures_is_made_again_too(job: GrowingJob) -> None:
    """Which of its edits failed cannot be read any more."""
    path = job.images / "owl" / "004.png"
    path.write_bytes(path.read_bytes()[:60])
    assert job.expand().manifest["failed"] == 4
    (report,) = (r for r in Ledger(job.out).committed().values() if r.failed)
    damage(job.out / "parts" / report.part)
    more_variants(job)
    assert job.counts()[0] == 40 * 2 + report.planned  # two more of each source, and all of that part
    assert job.expand().manifest["failed"] == 6
    assert published(job.out) == job.fresh()


def test_an_output_to_reuse_must_be_one(job: GrowingJob, tmp_path: Path) -> None:
    job.options["reuse"] = f"[{tmp_path / 'nothing'}]"
    with pytest.raises(ConfigError, match=r"reuse: .*nothing has no plan/plan\.json"):
        job.expand(tmp_path / "new")
