"""A job whose prompts stand in a table, and what is read from it and changed in it."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

from augment.dataset.index import read_index
from augment.ledger.ledger import Ledger
from augment.run.prompt_stage import PromptReport, make_prompts
from tests.run.growing import GrowingJob

Row = dict[str, str]


def two_classes(tmp_path: Path) -> GrowingJob:
    """Three foxes and two owls, with two edits each."""
    made = GrowingJob(tmp_path)
    made.options["variants_per_image"] = 2
    for seed, (name, stem) in enumerate([("fox", "0"), ("fox", "1"), ("fox", "2"), ("owl", "0"), ("owl", "1")]):
        made.add(name, stem, seed)
    return made


def make(job: GrowingJob) -> PromptReport:
    return make_prompts(job.load(job.out))


def table(job: GrowingJob) -> Path:
    return job.out / "prompts" / "prompts.csv"


def rows(job: GrowingJob) -> list[Row]:
    with table(job).open(newline="") as file:
        return list(csv.DictReader(file))


def edit(
    job: GrowingJob, change: Callable[[list[Row]], list[Row]], delimiter: str = ",", encoding: str = "utf-8"
) -> None:
    """Change the CSV as a spreadsheet would."""
    content = change(rows(job))
    with table(job).open("w", newline="", encoding=encoding) as file:
        writer = csv.DictWriter(file, list(content[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(content)


def changed(*changes: tuple[int, str, str]) -> Callable[[list[Row]], list[Row]]:
    """A change of some cells: row, column, value."""

    def change(content: list[Row]) -> list[Row]:
        for row, column, value in changes:
            content[row][column] = value
        return content

    return change


def planned(job: GrowingJob) -> dict[str, list[str]]:
    """The prompts in the plan, by image."""
    return {p.source.key: [v.prompt for v in p.variants] for unit in Ledger(job.out).units() for p in unit.sources}


def published_prompts(job: GrowingJob) -> dict[str, str]:
    return {record["key"]: record["target_prompt"] for record in read_index(job.out / "index.parquet")}
