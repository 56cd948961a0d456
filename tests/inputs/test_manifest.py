"""Manifests: what a row means, which keys and labels come of it, and every problem with its line."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import fsspec
import pyarrow
import pyarrow.parquet
import pytest

from augment.errors import InputError
from augment.inputs.readers import list_sources, read_bytes
from augment.storage.tar import KEY_PATTERN
from augment.types import Source

FORMATS = ("csv", "jsonl", "parquet")
Rows = list[dict[str, Any]]


def write(path: Path, rows: Rows) -> Path:
    """A manifest of the kind that its extension says, with the columns of the first row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        path.write_bytes(text.getvalue().encode(errors="surrogateescape"))
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def listed(path: object, class_names: dict[int, str] | None = None, split: str | None = None) -> list[Source]:
    return list_sources(path, "manifest", class_names, split).sources  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", FORMATS)
def test_every_column_means_the_same_in_every_kind_of_file(tmp_path: Path, kind: str) -> None:
    rows: Rows = [
        {"path": "b/2.png", "label": "owl", "prompt": 'an owl, "asleep"', "split": "val", "id": "two", "size": 7},
        {"path": "a/1.png", "label": "fox", "prompt": None, "split": "train", "id": None, "size": None},
        {"path": "/abs/3.png", "label": "fox", "prompt": "", "split": "train", "id": "", "size": 0},
        {"path": "s3://b/4.png", "label": "eel", "prompt": " é\n", "split": "train", "id": "4", "size": None},
    ]
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.png").write_bytes(b"12345")
    path = write(tmp_path / f"rows.{kind}", rows)
    assert listed(path) == [
        Source("4", "s3://b/4.png", 0, 0, "eel", "é"),
        Source("a/1", f"{tmp_path}/a/1.png", 5, 1, "fox"),  # asked for its size
        Source("abs/3", "/abs/3.png", 0, 1, "fox"),  # not there: said when it is read
        Source("two", f"{tmp_path}/b/2.png", 7, 2, "owl", 'an owl, "asleep"'),
    ]
    assert read_bytes(listed(path)[1]) == b"12345"
    with pytest.raises(InputError, match=r"b/2\.png: No such file or directory"):
        read_bytes(listed(path)[3])


@pytest.mark.parametrize("kind", FORMATS)
def test_labels_do_not_depend_on_the_split(tmp_path: Path, kind: str) -> None:
    rows = [{"path": f"{name}.png", "label": name, "split": name[0]} for name in ("eel", "fox", "owl")]
    path = write(tmp_path / f"rows.{kind}", rows)
    assert [(s.key, s.label) for s in listed(path, split="o")] == [("owl", 2)]
    with pytest.raises(InputError, match=r"no row has the split 'p' in 1 manifest.*there is 'e', 'f', 'o'"):
        listed(path, split="p")
    path = write(tmp_path / f"no_split.{kind}", [{"path": "a.png", "label": "fox"}])
    with pytest.raises(InputError, match=r"no row has the split 'p'"):
        listed(path, split="p")


@pytest.mark.parametrize("kind", FORMATS)
def test_labels_may_be_indices_which_need_names(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / f"rows.{kind}", [{"path": "a.png", "label": 3}, {"path": "b.png", "label": 0}])
    assert [(s.label, s.class_name) for s in listed(path, {3: "fox", 0: "owl"})] == [(3, "fox"), (0, "owl")]
    with pytest.raises(InputError, match=r"no name for the label\(s\) 0, 3, .*or write names into the column label"):
        listed(path)
    with pytest.raises(InputError, match=r"input\.class_names lacks the label\(s\) 3"):
        listed(path, {0: "owl"})


def test_names_are_looked_up_where_they_are_given(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", [{"path": "a.png", "label": " owl "}, {"path": "b.png", "label": "foxx"}])
    with pytest.raises(
        InputError,
        match=r"1 label\(s\) that input.class_names does not have:\s+.*rows\.csv:3: 'foxx'; did you mean 'fox'\?",
    ):
        listed(path, {5: "fox", 2: "owl"})
    named = listed(path, {5: "foxx", 2: "owl", 9: "eel"})
    assert [(s.key, s.label, s.class_name) for s in named] == [("a", 2, "owl"), ("b", 5, "foxx")]
    with pytest.raises(InputError, match="gives two labels one name"):
        listed(path, {5: "foxx", 2: "owl", 9: "owl"})


def test_indices_and_names_do_not_mix(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", [{"path": f"{i}.png", "label": label} for i, label in enumerate(("b", "a", 3))])
    with pytest.raises(InputError, match=r"an index, 3, at .*rows\.csv:4, but a name, 'a', at .*rows\.csv:3"):
        listed(path)


def test_several_manifests_are_one_data_set(tmp_path: Path) -> None:
    for folder, label in (("x", "owl"), ("y", "fox")):
        write(
            tmp_path / folder / "rows.jsonl",
            [{"path": "1.png", "label": label}, {"path": f"{label}.png", "label": label}],
        )
    together = listed([str(tmp_path / "x"), f"{tmp_path}/y/*.jsonl"])
    assert {s.key.partition("-")[0]: s.label for s in together} == {"1": 0, "fox": 0, "owl": 1} | {"1": 1}
    assert len({s.key for s in together}) == 4 and {s.label for s in together} == {0, 1}
    assert listed(f"{tmp_path}/{{x,y}}/rows.jsonl") == together
    assert [s.key for s in listed(tmp_path / "x")] == ["1", "owl"]


def test_keys_are_legal_distinct_and_do_not_depend_on_their_neighbours(tmp_path: Path) -> None:
    paths = [
        "a b.png",
        "a.b.png",
        "\u732b.png",
        "\u72ac.png",
        "x/a.png",
        "y/a.png",
        "a.png",
        "a.jpg",
        "../a.png",
        "s3://b/a.png",
    ]
    paths += ["/a.png", "a", "\udcff.png"]  # names of files are bytes and need not be UTF-8
    sources = listed(write(tmp_path / "rows.csv", [{"path": path, "label": "fox"} for path in paths]))
    keys = {s.locator.removeprefix(f"{tmp_path}/"): s.key for s in sources}
    assert len(set(keys.values())) == len(paths)
    assert all(KEY_PATTERN.fullmatch(key) and not key.startswith("/") for key in keys.values())
    assert keys["x/a.png"] == "x/a" and keys["a.b.png"].startswith("a_b-") and keys["s3://b/a.png"] == "b/a"
    alone = write(tmp_path / "alone.csv", [{"path": "a b.png", "label": "owl", "size": 9}])
    assert listed(alone)[0].key == keys["a b.png"]


@pytest.mark.parametrize("kind", FORMATS)
def test_what_is_called_the_same_twice_is_named_with_both_lines(tmp_path: Path, kind: str) -> None:
    rows = [{"path": f"{i}.png", "label": "fox", "id": i // 2} for i in (1, 2, 4, 5)]
    first = 3 if kind == "csv" else 2  # of the two rows with the id 2; before them comes a header, or not
    path = write(tmp_path / f"rows.{kind}", [rows[0], *rows[2:]])
    with pytest.raises(InputError, match=rf"rows.{kind}:{first} and .*rows.{kind}:{first + 1} are both called '2'"):
        listed(path)
    path = write(tmp_path / f"rows.{kind}", [{"path": path, "label": "fox"} for path in ("x//a.png", "./x/a.png")])
    with pytest.raises(InputError, match=r"both called 'x/a\.png'; give the images distinct names"):
        listed(path)


def test_other_columns_are_ignored_but_not_misspelt_ones(tmp_path: Path) -> None:
    row = {"path": "a.png", "label": "fox", "idx": 3, "date": "today", "photographer": "?"}
    for kind in FORMATS:
        assert listed(write(tmp_path / f"ok.{kind}", [row]))[0].key == "a"
        path = write(tmp_path / f"bad.{kind}", [{"path": "a.png", "lable": "fox"}])
        with pytest.raises(InputError, match=rf"bad\.{kind}:1: unknown column 'lable'; did you mean 'label'\?"):
            listed(path)
    for wrong, right in (("Path", "path"), ("promt", "prompt"), (" ID", "id"), ("sizes", "size")):
        path = write(tmp_path / "bad.jsonl", [row, {"path": "b.png", "label": "fox", wrong: "x"}])
        if right == "path":
            path = write(path, [{wrong: "b.png", "label": "fox"}])
        with pytest.raises(InputError, match=rf"unknown column '{wrong}'; did you mean '{right}'\?"):
            listed(path)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_the_first_ten_problems_are_shown_with_their_lines_and_all_are_counted(tmp_path: Path, kind: str) -> None:
    rows: Rows = [{"path": f"{i}.png" if i % 2 else "", "label": "fox"} for i in range(60)]
    with pytest.raises(InputError) as caught:
        listed(write(tmp_path / f"rows.{kind}", rows))
    lines = str(caught.value).splitlines()
    assert lines[0] == "30 problems in the manifest:" and lines[-1] == "  ... and 20 more"
    assert lines[1:-1] == [f"  {tmp_path}/rows.{kind}:{i + 1}: no path" for i in range(0, 20, 2)]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"path": 3, "label": "fox"}, "path is 3, expected text"),
        ({"path": "a\0.png", "label": "fox"}, r"path is 'a\x00.png', which no file can be called"),
        ({"path": "\ud800.png", "label": "fox"}, r"path is '\ud800.png', which no file can be called"),
        ({"path": "a.png"}, "no label"),
        ({"path": "a.png", "label": "  "}, "no label"),
        ({"path": "a.png", "label": 3.5}, "label is 3.5, expected a class index such as 3, or a class name"),
        ({"path": "a.png", "label": float("nan")}, "label is nan, so there is no label"),
        ({"path": "a.png", "label": float("inf")}, "label is inf, expected a class index"),
        ({"path": "a.png", "label": 2**63}, "label is 9223372036854775808, expected a class index"),
        ({"path": "a.png", "label": "1_0"}, "label is '1_0', expected a class index"),
        ({"path": "a.png", "label": "+1"}, "label is '+1', expected a class index"),
        ({"path": "a.png", "label": "\u0661"}, "label is '\u0661', expected a class index"),
        ({"path": "a.png", "label": -1}, "label is -1, expected a class index such as 3, or a class name"),
        ({"path": "a.png", "label": "3.0"}, "label is '3.0', expected a class index such as 3, or a class name"),
        ({"path": "a.png", "label": "nan"}, "label is 'nan', expected a class index"),
        ({"path": "a.png", "label": ["fox"]}, "label is ['fox'], expected text"),
        ({"path": "a.png", "label": "fo\udcffx"}, r"label is 'fo\udcffx', which is not UTF-8"),
        ({"path": "a.png", "label": "fox", "prompt": {}}, "prompt is {}, expected text"),
        ({"path": "a.png", "label": "fox", "split": 0.5}, "split is 0.5, expected text"),
        ({"path": "a.png", "label": "fox", "size": -1}, "size is -1, expected a number of bytes"),
        ({"path": "a.png", "label": "fox", "size": 1.0}, "size is 1.0, expected a number of bytes"),
        ({"path": "a.png", "label": "fox", "size": "big"}, "size is 'big', expected a number of bytes"),
    ],
)
def test_rows_that_cannot_be_used(tmp_path: Path, row: dict[str, Any], problem: str) -> None:
    path = write(tmp_path / "rows.jsonl", [{"path": "b.png", "label": "owl"}, row])
    with pytest.raises(InputError, match=re.escape(f"1 problem in the manifest:\n  {path}:2: {problem}")):
        listed(path)


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("", ["1: no header; the first line must name the columns path, label"]),
        ("path;label\na.png;fox\n", ["1: no column 'path' and no column 'label'; it has 'path;label'"]),
        ("path,class\na.png,fox\n", ["1: no column 'label'; it has 'path', 'class'"]),
        ("path,label,label\n", ["1: two columns are called 'label'"]),
        ("path,label\na.png\nb.png,owl\nc.png,fox,1\n", ["2: 1 values, but", "4: 3 values, but the header has 2"]),
        ('path,label,prompt\n1.png,fox,"two\nlines"\n\n2.png,,x\n', ["5: no label"]),
        ('path,label\n"a"b.png,fox\nc.png,\n', ["2: not valid CSV: ',' expected", "3: no label"]),
        ('path,label\na.png,"fox\nb.png,owl\n', ["2: not valid CSV: unexpected end of data"]),
        ("path,label\na.png,f\udcff\n", ["2: label is 'f\\udcff', which is not UTF-8"]),
    ],
)
def test_problems_of_csv(tmp_path: Path, text: str, problems: list[str]) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InputError) as caught:
        listed(path)
    lines = str(caught.value).splitlines()[1:]
    assert len(lines) == len(problems)
    assert all(line.startswith(f"  {path}:{problem}") for line, problem in zip(lines, problems, strict=True))


def test_csv_from_other_programs(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(b'\xef\xbb\xbfpath , label\r\n\r\n"a, b.png", "fo""x"\r\n')
    (source,) = listed(tmp_path / "rows.csv")
    assert (source.locator, source.class_name) == (f"{tmp_path}/a, b.png", 'fo"x')


def test_problems_of_jsonl_and_parquet(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"path": \n[]\n\n"text"\n' + "[" * 100_000 + "\n")
    with pytest.raises(InputError) as caught:
        listed(tmp_path / "rows.jsonl")
    found = re.findall(r":(\d+): (not valid JSON|a JSON object)", str(caught.value))
    assert found == [("1", "not valid JSON"), ("2", "a JSON object"), ("4", "a JSON object"), ("5", "not valid JSON")]
    (tmp_path / "rows.parquet").write_bytes(b"no table at all")
    with pytest.raises(InputError, match=r"rows\.parquet: not a readable Parquet file"):
        listed(tmp_path / "rows.parquet")


def test_files_that_are_no_manifests(tmp_path: Path) -> None:
    (tmp_path / "rows.tsv").write_text("path\tlabel\n")
    with pytest.raises(
        InputError, match=r"rows\.tsv: a manifest is a file with the extension \.csv, \.jsonl, \.parquet"
    ):
        listed(tmp_path / "rows.tsv")
    with pytest.raises(InputError, match=r"no \.csv or \.jsonl or \.parquet file in the folder"):
        listed(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        listed(tmp_path / "none.csv")
    (tmp_path / "rows.csv").write_text("path,label\n")
    with pytest.raises(InputError, match=r"no row in 1 manifest\(s\), the first is .*rows\.csv"):
        listed(tmp_path / "rows.csv")


@pytest.mark.parametrize("kind", FORMATS)
def test_a_remote_manifest_names_files_beside_it(tmp_path: Path, kind: str) -> None:
    rows: Rows = [{"path": "x/1.png", "label": "fox"}, {"path": f"file://{tmp_path}/2.png", "label": "owl"}]
    memory = fsspec.filesystem("memory")
    memory.pipe(f"/manifests/rows.{kind}", write(tmp_path / f"rows.{kind}", rows).read_bytes())
    memory.pipe("/manifests/x/1.png", b"one")
    (tmp_path / "2.png").write_bytes(b"two")
    sources = listed("memory://manifests")
    memory_path = {s.class_name: s.locator for s in sources}
    assert memory_path == {"fox": "memory://manifests/x/1.png", "owl": f"{tmp_path}/2.png"}
    assert sorted(read_bytes(s) for s in sources) == [b"one", b"two"]
    assert sorted(s.size for s in sources) == [0, 3]
    memory.rm("/manifests", recursive=True)
    with pytest.raises(InputError, match=rf"memory://manifests/rows\.{kind}: No such file"):
        listed(f"memory://manifests/rows.{kind}")


@pytest.mark.parametrize("format", FORMATS)
def test_further_columns_become_attributes_where_they_are_asked_for(tmp_path: Path, format: str) -> None:
    rows: Rows = [
        {"path": "a.png", "label": 0, "place": "snow", "hour": 7},
        {"path": "b.png", "label": 1, "place": " "},
    ]
    rows[1]["hour"] = 19
    file = write(tmp_path / f"m.{format}", rows)
    names = {"0": "fox", "1": "owl"}
    found = list_sources(file, "manifest", names, columns=("hour", "place", "absent")).sources
    assert [s.attributes for s in found] == [
        {"hour": "7", "place": "snow", "absent": ""},
        {"hour": "19", "place": "", "absent": ""},
    ]
    assert [s.attributes for s in list_sources(file, "manifest", names).sources] == [{}, {}]
