"""The benchmark's tables: CSV says what JSON says, Markdown stays a table."""

from __future__ import annotations

import csv
import io

from augment.evaluation.tables import csv_table, markdown_tables
from tests.evaluation.benchmark_rows import editing_row, inversion_row, report


def test_csv_has_a_column_per_field_and_one_per_entry_of_a_mapping():
    rows = [
        inversion_row("ddim", psnr=27.125, evaluations=1.0),
        inversion_row("rnri", psnr=28.0, evaluations=4.0, settings={"eta": 0.1}, match_noise=False),
    ]
    first, second = csv.DictReader(io.StringIO(csv_table(rows)))
    assert first["solver"] == "ddim"
    assert float(first["psnr"]) == 27.125
    assert (first["statuses.converged"], first["statuses.max_steps"], first["max_steps"]) == ("1", "5", "2")
    assert (first["settings.eta"], second["settings.eta"]) == ("", "0.1")
    assert (first["match_noise"], second["match_noise"]) == ("", "false")
    assert "settings" not in first and "statuses" not in first


def test_csv_quotes_what_needs_it():
    text = csv_table([editing_row('a "b", c', 0.1, 0.9)])
    assert next(csv.DictReader(io.StringIO(text)))["method"] == 'a "b", c'
    assert "\r" not in text


def test_one_markdown_table_per_schedule_and_kind_with_as_many_cells_as_columns():
    lines = markdown_tables(report())
    tables = "\n".join(lines).split("\n\n")[1:]
    starts = ["| 10 steps, ddim |", "| 4 steps, lcm, noise not matched |", "| method |", "| solver |", "| peak MB"]
    assert [t.startswith(s) for t, s in zip(tables, starts, strict=True)] == [True] * len(starts)
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_iterations_name_a_tolerance_that_is_set():
    row = inversion_row("rnri", psnr=28.0, evaluations=2.0, first_max_steps=8, max_steps=1, tolerance=0.01)
    lines = markdown_tables({**report(), "rows": [row]})
    assert any(line.startswith("| `rnri` | none | 8 + 1 × 9, tolerance 0.01 | 2.00 | 2.00 |") for line in lines)


def test_memory_has_a_row_with_checkpointing_where_it_matters():
    lines = markdown_tables(report())
    assert lines[-3:] == [
        "| `rnri_released`, warm start none, 2 + 2 × 9 | 1.0 | 4.0 |",
        "| `rnri`, warm start none, 2 + 2 × 9 | 1.0 | 4.0 |",
        "| `rnri`, warm start none, 2 + 2 × 9, blocks checkpointed | 0.4 | 1.6 |",
    ]
