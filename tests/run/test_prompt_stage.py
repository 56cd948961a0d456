"""The table of prompts: what is written, what a person may change in it, and what `expand` makes of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from augment.dataset.overview import FILES
from augment.dataset.verify import verify
from augment.errors import ConfigError
from augment.run.dry_run import dry_run
from augment.run.validate import validate_config
from tests.run.growing import GrowingJob
from tests.run.prompt_jobs import Row, changed, edit, make, planned, published_prompts, rows, table, two_classes


@pytest.fixture
def job(tmp_path: Path) -> GrowingJob:
    return two_classes(tmp_path)


# ---- what is written ------------------------------------------------------------------------------------------------
def test_the_table_has_the_prompts_that_a_run_would_draw(job: GrowingJob) -> None:
    report = make(job)
    assert (report.images, report.prompts, report.edited, report.refused) == (5, 10, 0, {})
    by_key: dict[str, list[str]] = {}
    for row in rows(job):
        by_key.setdefault(row["key"], []).append(row["prompt"])
        assert row["class_name"] in row["prompt"]
    made = pq.read_table(job.out / "prompts" / "prompts.parquet").to_pylist()
    assert [row["prompt"] for row in made] == [row["prompt"] for row in rows(job)]
    assert set(json.loads(made[0]["attributes"])) == {"place", "weather"}
    job.expand()
    assert planned(job) == by_key
    with_table = published_prompts(job)
    for file in (job.out / "prompts").glob("prompts.*"):
        file.unlink()
    summary = job.expand()  # without the table the same prompts are drawn
    assert summary.edits_made == 0
    assert published_prompts(job) == with_table


def test_a_balanced_draw_is_that_of_the_whole_job_everywhere(job: GrowingJob) -> None:
    job.prompts["draw"] = "balanced"
    config = job.load(job.out)
    assert (dry_run(config).planned, validate_config(config).problems) == (10, ())
    job.options["input.limit"] = 3
    assert job.expand().edits_made == 6
    few = planned(job)
    del job.options["input.limit"]
    assert job.counts() == (4, 6, 0)  # what the first images had stays
    assert job.expand().edits_made == 4
    every = planned(job)
    assert few.items() <= every.items()
    places = [prompt.split()[6] for key, prompts in every.items() for prompt in prompts if key.startswith("fox")]
    assert sorted(Counter(places).values()) == [1, 1, 2, 2]
    make(job)
    assert {key: [row["prompt"] for row in rows(job) if row["key"] == key] for key in every} == every
    assert job.expand().edits_made == 0


def test_made_again_it_is_the_same_bytes(job: GrowingJob) -> None:
    make(job)
    before = {path.name: path.read_bytes() for path in (job.out / "prompts").glob("prompts.*")}
    assert sorted(before) == ["prompts.csv", "prompts.json", "prompts.parquet"]
    make(job)
    assert {path.name: path.read_bytes() for path in (job.out / "prompts").glob("prompts.*")} == before


def test_prompts_that_the_guards_refuse_are_counted_and_left_out(job: GrowingJob) -> None:
    job.prompts["attributes"]["place"] = [{"name": "owl", "text": "beside an owl"}, {"name": "sand", "text": "on sand"}]
    report = make(job)
    assert report.refused["another class"] + sum("fox" in row["prompt"] for row in rows(job)) == 6
    assert not any("owl" in row["prompt"] for row in rows(job) if row["class_name"] == "fox")
    assert any("has the class word 'owl'" in warning for warning in report.warnings)
    job.prompts["blocklist"] = ["beside"]
    with pytest.raises(ConfigError, match=r"attributes.place.owl: .* has 'beside', which blocklist rules out"):
        make(job)


def test_an_image_whose_prompts_are_all_refused_has_no_edits(job: GrowingJob) -> None:
    job.prompts["attributes"] = {"place": [{"name": "owl", "text": "beside an owl"}]}
    job.prompts["templates"] = ["{a_class} {place}"]
    assert (make(job).prompts, make(job).refused) == (4, {"another class": 6})
    job.expand()
    assert sorted(planned(job)) == ["owl/0", "owl/1"]


# ---- what a person changes ------------------------------------------------------------------------------------------
def test_a_run_makes_what_the_csv_says(job: GrowingJob) -> None:
    make(job)
    first, second, third = rows(job)[:3]

    def change(content: list[Row]) -> list[Row]:
        content[0]["prompt"] = f"my own {first['class_name']}"
        content[1]["prompt"] = " "  # not wanted
        added = third | {"variant": "7", "prompt": f"another {third['class_name']}", "source_prompt": ""}
        return [*content[:2], *content[3:], added]  # the third is deleted

    edit(job, change, delimiter=";", encoding="utf-8-sig")
    assert dry_run(job.load(job.out)).planned == 9
    assert validate_config(job.load(job.out)).planned == 9
    job.expand()
    assert verify(job.out, FILES).problems == []
    prompts = published_prompts(job)
    assert len(prompts) == 9
    assert f"my own {first['class_name']}" in prompts.values()
    assert f"another {third['class_name']}" in prompts.values()
    of_first = planned(job)[first["key"]]
    assert second["key"] != first["key"] or of_first == [f"my own {first['class_name']}"]


def test_another_change_makes_only_that_edit_anew(job: GrowingJob) -> None:
    make(job)
    assert job.expand().edits_made == 10
    edit(job, changed((4, "prompt", f"my own {rows(job)[4]['class_name']}")))
    assert job.counts() == (1, 9, 1)
    assert job.expand().edits_made == 1
    assert job.expand().edits_made == 0


def test_an_image_without_rows_has_no_edits(job: GrowingJob) -> None:
    make(job)
    key = rows(job)[0]["key"]
    edit(job, lambda content: [row for row in content if row["key"] != key])
    assert job.expand().edits_made == 8
    assert key not in planned(job)


def test_changes_stay_when_it_is_made_again(job: GrowingJob) -> None:
    make(job)
    mine = f"my own {rows(job)[0]['class_name']}"
    edit(job, lambda content: changed((0, "prompt", mine))(content)[:-1])
    before = rows(job)
    assert make(job).edited == 2
    assert rows(job) == before
    job.add("owl", "new", 77)  # the dataset has grown since
    report = make(job)
    assert (report.edited, report.prompts) == (2, 11)
    assert [row for row in rows(job) if not row["key"].endswith("new")] == sorted(
        before, key=lambda row: [r["key"] + r["variant"] for r in rows(job)].index(row["key"] + row["variant"])
    )
    table(job).unlink()  # begin anew
    assert (make(job).edited, len(rows(job))) == (0, 12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed((1, "prompt", "a dog in snow")), "prompts.csv:3: 'a dog in snow' cannot be a prompt of"),
        (changed((1, "key", "fox/99")), "prompts.csv:3: there is no image 'fox/99'"),
        (changed((1, "variant", "one")), "prompts.csv:3: variant 'one' is no number"),
        (changed((1, "variant", "0")), "is on line 2, too"),
        (changed((1, "source_prompt", "another")), "has another source_prompt on line 2"),
        (lambda content: [{"key": row["key"], "prompt": row["prompt"]} for row in content], "no column 'variant'"),
    ],
)
def test_rows_that_cannot_be_used_are_named_by_line(
    job: GrowingJob, change: Callable[[list[Row]], list[Row]], message: str
) -> None:
    make(job)
    edit(job, change)
    with pytest.raises(ConfigError) as caught:
        job.expand()
    assert message in str(caught.value)
    assert any(message in problem for problem in validate_config(job.load(job.out)).problems)
    assert not (job.out / "plan").exists()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty; the first line must name the columns"),
        ("key,variant,prompt\nf\u00fcchse,0,a fox\n".encode("latin-1"), "is not in UTF-8"),
        (b"key,variant,prompt\nfox/0,0\n", "prompts.csv:2: 2 values, but the first line has 3"),
        (b'key,variant,prompt\nfox/0,0,"a fox\n', "not valid CSV"),
    ],
)
def test_files_that_are_no_table_are_refused(job: GrowingJob, data: bytes, message: str) -> None:
    make(job)
    table(job).write_bytes(data)
    with pytest.raises(ConfigError, match="(?s)" + message):
        job.expand()


def test_a_table_without_a_row_left_is_refused(job: GrowingJob) -> None:
    make(job)
    head, *_ = table(job).read_text().splitlines()
    table(job).write_text(f"{head}\n")
    with pytest.raises(ConfigError, match=r"the table of prompts has no row left, so there is nothing to make"):
        job.expand()


def test_a_table_of_other_prompts_or_other_images_is_not_taken(job: GrowingJob) -> None:
    make(job)
    job.options["seed"] = 5
    with pytest.raises(ConfigError, match=r"(?s)seed: 0 in the table, 5 now.*something else. Run `augment prompts`"):
        job.expand()
    job.options["seed"] = 0
    job.add("fox", "new", 99)
    with pytest.raises(ConfigError, match=r"1 images have no prompts in it, the first is 'fox/new'"):
        job.expand()
    table(job).unlink()
    with pytest.raises(ConfigError, match=r"prompts.json is there, but prompts.parquet or prompts.csv is not"):
        job.expand()


def test_another_folder_may_hold_the_table(job: GrowingJob) -> None:
    job.options["prompt_folder"] = str(job.folder / "words")
    assert make(job).out == str(job.folder / "words")
    path = job.folder / "words" / "prompts.csv"
    path.write_text("key,variant,prompt\nfox/0,1,my fox\n")
    job.expand()
    assert planned(job) == {"fox/0": ["my fox"]}
    assert not (job.out / "prompts").exists()


# ---- lines and columns ----------------------------------------------------------------------------------------------
def test_a_run_from_a_file_of_lines(job: GrowingJob) -> None:
    (job.folder / "lines.txt").write_text("{a_class} in the sun\n[owl]\nan owl on a branch\n")
    job.prompts = {"lines": "lines.txt"}
    assert job.expand().edits_made == 10
    prompts = planned(job)
    assert prompts["fox/0"] == ["a fox in the sun"] * 2
    assert sorted(prompts["owl/1"]) == ["an owl in the sun", "an owl on a branch"]
    (job.folder / "lines.txt").write_text("{a_class} in the sun\n[owl]\nan owl on a roof\n")
    assert job.counts() == (2, 8, 2)
    (job.folder / "lines.txt").write_text("[owel]\nan owl\n")
    problems = validate_config(job.load(job.out)).problems
    assert any("[owel] is no class of the dataset; did you mean 'owl'?" in problem for problem in problems)
    assert any("no prompt is left for class 'fox'" in problem for problem in problems)


def test_a_run_from_a_column_of_a_manifest(job: GrowingJob) -> None:
    manifest = job.images / "manifest.csv"
    manifest.write_text("path,label,edits\nfox/0.png,fox,my fox|your fox|a bear\nowl/0.png,owl,\n")
    job.prompts = {"column": "edits", "templates": ["{a_class} in the sun"]}
    job.options |= {"input.path": str(manifest), "input.format": "manifest"}
    job.expand()
    assert planned(job) == {"fox/0": ["my fox", "your fox"], "owl/0": ["an owl in the sun"] * 2}
    assert any("column 'edits': 1 left out" in warning for warning in validate_config(job.load(job.out)).warnings)
    job.prompts["column"] = "edit"
    (problem,) = validate_config(job.load(job.out)).problems
    assert "column: 'edit' is in no row. Name a column of the manifest" in problem
