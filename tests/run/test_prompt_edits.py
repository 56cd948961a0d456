"""What a person has changed in a table of prompts stays, whatever becomes of the dataset and of the config."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from augment.errors import ConfigError
from augment.ledger.ledger import Ledger
from augment.run.dry_run import dry_run
from augment.run.prompt_edits import MergedTable, with_changes
from augment.run.prompt_table import ABSENT, PromptRow, digest_of_rows
from augment.run.validate import validate_config
from tests.run.growing import GrowingJob
from tests.run.prompt_jobs import Row, changed, edit, make, planned, rows, table, two_classes

HERE = {"a": "1", "b": "2"}


def row(key: str, variant: int, prompt: str = "as made", caption: str = "a fox") -> PromptRow:
    return PromptRow(key, variant, "fox", prompt, caption, {"place": "snow"}, made_of=HERE.get(key, ABSENT))


def texts(some: list[PromptRow]) -> list[tuple[str, int, str, str]]:
    return [(r.key, r.variant, r.prompt, r.source_prompt) for r in some]


def merge(
    made: list[PromptRow], before: list[PromptRow], edited: list[PromptRow], here: tuple[str, ...] = ("a", "b")
) -> MergedTable:
    known = {key: HERE[key] for key in here}
    return with_changes(made, known, {r.id: r for r in before}, {r.id: r for r in edited})


BEFORE = [row("a", 0), row("a", 1), row("b", 0), row("b", 1)]


# ---- images that are not there now ----------------------------------------------------------------------------------
def test_changes_of_absent_images_come_back_with_them() -> None:
    edited = [row("a", 0), row("a", 1), row("b", 0, "mine"), row("b", 7, "added")]  # and the second of b is deleted
    without_b = merge(BEFORE[:2], BEFORE, edited, here=("a",))
    assert (without_b.changes, without_b.set_aside) == (0, 3)
    assert texts(without_b.edited) == texts(edited)
    assert {r.made_of for r in without_b.made if r.key == "b"} == {ABSENT}
    once_more = merge(BEFORE[:2], without_b.made, without_b.edited, here=("a",))
    assert once_more == without_b
    back = merge(BEFORE, without_b.made, without_b.edited)
    assert (back.changes, back.set_aside) == (3, 0)
    assert texts(back.edited) == texts(edited) and back.made == BEFORE


def test_rows_of_absent_images_that_nobody_changed_go() -> None:
    merged = merge(BEFORE[:2], BEFORE, BEFORE, here=("a",))
    assert merged == MergedTable(BEFORE[:2], BEFORE[:2])


def test_an_added_row_of_an_absent_image_without_prompts_comes_back() -> None:
    added = row("b", 0, "added", "my caption")
    absent = merge(BEFORE[:2], BEFORE[:2], [*BEFORE[:2], added], here=("a",))
    assert texts(absent.edited)[2:] == texts([added])
    back = merge(BEFORE[:2], absent.made, absent.edited)  # the guards refuse all that would be made of it
    assert texts(back.edited)[2:] == texts([added]) and back.made == BEFORE[:2]
    gone = merge(BEFORE[:2], absent.made, absent.edited[:2])
    assert gone == MergedTable(BEFORE[:2], BEFORE[:2])


# ---- variants that are not made now ---------------------------------------------------------------------------------
def test_changed_rows_beyond_the_number_of_variants_stay_and_are_pointed_out() -> None:
    edited = [row("a", 0), row("a", 1, "mine"), row("b", 0)]  # the second of b is deleted
    fewer = [row("a", 0), row("b", 0)]
    merged = merge(fewer, BEFORE, edited)
    assert texts(merged.edited) == texts([row("a", 0), row("b", 0), row("a", 1, "mine")])
    assert (merged.changes, merged.beyond) == (1, 1)
    (warning,) = merged.warnings("prompts.csv")
    assert "1 rows that you have changed are no prompts that are drawn now" in warning
    again = merge(BEFORE, merged.made, merged.edited)
    assert texts(again.edited) == texts(edited)
    assert (again.changes, again.warnings("prompts.csv")) == (2, [])


# ---- captions -------------------------------------------------------------------------------------------------------
def test_a_new_caption_reaches_the_rows_whose_prompt_a_person_changed() -> None:
    made = [replace(r, source_prompt="a small fox") for r in BEFORE[:2]]
    edited = [row("a", 0, "mine"), row("a", 1), row("a", 5, "added")]
    merged = merge(made, BEFORE[:2], edited, here=("a",))
    assert texts(merged.edited) == [
        ("a", 0, "mine", "a small fox"),
        ("a", 1, "as made", "a small fox"),
        ("a", 5, "added", "a small fox"),
    ]


def test_a_caption_of_a_persons_own_stays_and_is_that_of_new_rows_too() -> None:
    edited = [row("a", 0, caption="my fox"), row("a", 1, caption="my fox")]
    made = [row("a", i, caption="a small fox") for i in range(3)]
    merged = merge(made, BEFORE[:2], edited, here=("a",))
    assert texts(merged.edited) == [("a", i, "as made", "my fox") for i in range(3)]
    assert merged.changes == 2


# ---- the same of a whole job ----------------------------------------------------------------------------------------
@pytest.fixture
def job(tmp_path: Path) -> GrowingJob:
    return two_classes(tmp_path)


def by_hand(content: list[Row]) -> list[Row]:
    return [row | {"prompt": f"{row['prompt']} by hand"} for row in content]


def test_another_limit_and_a_class_that_was_absent_cost_no_change(job: GrowingJob) -> None:
    make(job)
    edit(job, by_hand)
    mine = rows(job)
    job.options["input.limit"] = 2
    report = make(job)
    assert (report.prompts, report.edited, report.set_aside) == (4, 4, 6)
    assert any(line.startswith("set aside       6 rows with your changes") for line in report.lines())
    assert report.as_dict()["set_aside"] == 6
    assert dry_run(job.load(job.out)).planned == 4
    del job.options["input.limit"]
    with pytest.raises(ConfigError, match="3 images have no prompts in it"):
        job.expand()
    (job.images / "owl").rename(job.folder / "away")
    assert (make(job).edited, make(job).set_aside) == (6, 4)
    (job.folder / "away").rename(job.images / "owl")
    assert (make(job).edited, make(job).set_aside) == (10, 0)
    assert sorted(rows(job), key=str) == sorted(mine, key=str)
    assert dry_run(job.load(job.out)).planned == 10


def test_a_row_more_than_there_are_variants_is_one_more_edit(job: GrowingJob) -> None:
    make(job)
    first = rows(job)[0]
    edit(job, lambda content: [*content, first | {"variant": "2", "prompt": f"another {first['class_name']}"}])
    config = job.load(job.out)
    assert (dry_run(config).planned, validate_config(config).planned) == (11, 11)
    assert job.expand().edits_made == 11
    assert f"another {first['class_name']}" in planned(job)[first["key"]]
    report = make(job)
    assert (report.prompts, report.edited) == (11, 1)
    assert not any("prompts.csv" in warning for warning in report.warnings)


def test_tables_with_more_rows_than_variants_have_plans_of_their_own() -> None:
    """Plans that earlier versions made of them lack the rows beyond."""
    assert digest_of_rows(BEFORE, 2) == digest_of_rows(BEFORE, 9)
    assert digest_of_rows(BEFORE, 1) != digest_of_rows(BEFORE, 2)


def test_a_table_without_its_head_is_not_left_unused(job: GrowingJob) -> None:
    make(job)
    (job.out / "prompts" / "prompts.json").unlink()
    with pytest.raises(ConfigError, match=r"prompts\.csv is there, but prompts\.json is not\. Run `augment prompts`"):
        job.expand()
    make(job)
    assert dry_run(job.load(job.out)).planned == 10


# ---- images that have changed ---------------------------------------------------------------------------------------
class ManifestJob(GrowingJob):
    """Two foxes and an owl, whose captions and prompts are in a manifest."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        for i in range(3):
            self.add("any", str(i), i)
        self.manifest = self.images / "manifest.csv"
        self.prompts = {"column": "edit", "templates": ["{a_class} on snow"]}
        self.options |= {"input.path": str(self.manifest), "input.format": "manifest", "variants_per_image": 1}
        self.list([("fox", "a fox", "my fox"), ("fox", "", ""), ("owl", "an owl", "my owl")])

    def list(self, images: list[tuple[str, str, str]]) -> None:
        lines = [f"any/{i}.png,{','.join(image)}" for i, image in enumerate(images)]
        self.manifest.write_text("\n".join(["path,label,prompt,edit", *lines]) + "\n")


@pytest.fixture
def manifest_job(tmp_path: Path) -> ManifestJob:
    return ManifestJob(tmp_path)


@pytest.mark.parametrize(
    "second",
    [("fox", "a fox at last", ""), ("fox", "", "your fox"), ("owl", "", "")],
    ids=["caption", "column", "class"],
)
def test_an_image_that_has_changed_asks_for_its_prompts_again(
    manifest_job: ManifestJob, second: tuple[str, str, str]
) -> None:
    make(manifest_job)
    config = manifest_job.load(manifest_job.out)
    assert validate_config(config).problems == ()
    manifest_job.list([("fox", "a fox", "my fox"), second, ("owl", "an owl", "my owl")])
    expected = "1 images have another class, caption or known attributes, or the column 'edit', than when it was made"
    (problem,) = validate_config(config).problems
    assert expected in problem and "the first is" in problem and "Run `augment prompts` again" in problem
    with pytest.raises(ConfigError, match=expected):
        manifest_job.expand()
    first = next(i for i, r in enumerate(rows(manifest_job)) if r["key"] == "any/0")
    edit(manifest_job, changed((first, "prompt", "my fox by hand")))
    assert make(manifest_job).edited == 1
    manifest_job.expand()
    expected_rows = {r["key"]: (r["source_prompt"], [r["prompt"]]) for r in rows(manifest_job)}
    units = Ledger(manifest_job.out).units()
    found = {p.source.key: (p.source_prompt, [v.prompt for v in p.variants]) for u in units for p in u.sources}
    assert found == expected_rows
    assert found["any/0"] == ("a fox", ["my fox by hand"])
    class_name, caption, own = second
    article = "an" if class_name == "owl" else "a"
    changed_row = next(r for r in rows(manifest_job) if r["key"] == "any/1")
    assert changed_row["prompt"] == (own or f"{article} {class_name} on snow")
    assert changed_row["source_prompt"] == (caption or f"a picture of {article} {class_name}")


def test_columns_that_no_prompt_is_made_of_may_change(manifest_job: ManifestJob) -> None:
    manifest_job.prompts = {"templates": ["{a_class} on snow"]}
    make(manifest_job)
    manifest_job.list([("fox", "a fox", "other"), ("fox", "", "other"), ("owl", "an owl", "other")])
    assert dry_run(manifest_job.load(manifest_job.out)).planned == 3


def test_an_image_without_a_prompt_is_looked_at_too(manifest_job: ManifestJob) -> None:
    manifest_job.prompts |= {"blocklist": ["bear"], "templates": ["{a_class} and a {place}"]}
    manifest_job.prompts["attributes"] = {"place": [{"name": "owl", "text": "owl"}]}
    report = make(manifest_job)
    assert (report.prompts, report.refused) == (2, {"another class": 1})
    assert dry_run(manifest_job.load(manifest_job.out)).planned == 2
    manifest_job.list([("fox", "a fox", "my fox"), ("fox", "", "your fox"), ("owl", "an owl", "my owl")])
    with pytest.raises(ConfigError, match="1 images have another class, caption"):
        manifest_job.expand()


def test_a_row_that_is_written_for_an_image_without_prompts_has_its_source_prompt(manifest_job: ManifestJob) -> None:
    manifest_job.prompts |= {"templates": ["{a_class} and a {place}"]}
    manifest_job.prompts["attributes"] = {"place": [{"name": "owl", "text": "owl"}]}
    make(manifest_job)
    own = {"key": "any/1", "variant": "0", "class_name": "", "prompt": "the other fox", "source_prompt": ""}
    edit(manifest_job, lambda content: [*content, own])
    manifest_job.expand()
    (found,) = [p for u in Ledger(manifest_job.out).units() for p in u.sources if p.source.key == "any/1"]
    assert (found.source_prompt, found.variants[0].prompt) == ("a picture of a fox", "the other fox")
    assert make(manifest_job).edited == 1
    assert own["prompt"] in {r["prompt"] for r in rows(manifest_job)}


# ---- tables of earlier versions -------------------------------------------------------------------------------------
def test_a_table_of_an_earlier_version_is_used_and_says_nothing_of_its_images(manifest_job: ManifestJob) -> None:
    make(manifest_job)
    folder = manifest_job.out / "prompts"
    data = io.BytesIO((folder / "prompts.parquet").read_bytes())
    pq.write_table(pq.read_table(data).drop_columns(["made_of"]), folder / "prompts.parquet", compression="zstd")
    head = json.loads((folder / "prompts.json").read_text())
    (folder / "prompts.json").write_text(json.dumps(head | {"without": sorted(head["without"])}))
    manifest_job.list([("fox", "another fox", "my fox"), ("fox", "", ""), ("owl", "an owl", "my owl")])
    edit(manifest_job, by_hand)
    assert manifest_job.expand().edits_made == 3
    assert make(manifest_job).edited == 3
    assert all(r["prompt"].endswith("by hand") for r in rows(manifest_job))
    assert "another fox" in table(manifest_job).read_text()
    manifest_job.list([("fox", "one more fox", "my fox"), ("fox", "", ""), ("owl", "an owl", "my owl")])
    with pytest.raises(ConfigError, match="1 images have another class, caption"):
        manifest_job.expand()
