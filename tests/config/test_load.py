from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator

from augment.config import inline_yaml, load_config, parse_config, resolved_yaml
from augment.errors import ConfigError


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Damping:
    weight: float = 0.1


class Newton(Section):
    name: Literal["newton"] = "newton"
    steps: int = Field(default=2, gt=0)
    damping: Damping = Damping()


class Plain(Section):
    name: Literal["plain"] = "plain"


class Run(Section):
    executor: Literal["local", "ray"] = "local"
    num_workers: int = Field(default=1, ge=1, description="processes that edit")


class Value(Section):
    text: str
    weight: float = 1.0


class Job(Section):
    run: Run = Run()
    solver: Annotated[Newton | Plain, Field(discriminator="name")] = Newton()
    path: Path | None = None
    tolerance: float = 1e-3
    words: dict[str, tuple[Value, ...]] = {}
    seed: int

    @field_validator("seed")
    @classmethod
    def _lucky(cls, seed: int) -> int:
        if seed == 13:
            raise ValueError("thirteen is unlucky")
        return seed


def write(folder: Path, text: str, name: str = "job.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def problems(path: Path | str, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(path, Job, overrides)
    assert all(p in str(caught.value) for p in caught.value.problems)
    return list(caught.value.problems)


def test_values_and_defaults(tmp_path: Path) -> None:
    path = write(tmp_path, "seed: 3\nrun: {num_workers: 4}\nsolver: {name: newton, steps: 5, damping: {weight: 2}}\n")
    job = load_config(path, Job)
    assert job.seed == 3
    assert job.run == Run(executor="local", num_workers=4)
    assert job.solver == Newton(steps=5, damping=Damping(2.0))
    assert job.path is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("-2.5E+3", -2500.0),
        (".inf", float("inf")),
        ("010", 10),
        ("0x10", 16),
        ("0o17", 15),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("on", "on"),
        ("off", "off"),
        ("yes", "yes"),
        ("No", "No"),
        ("True", True),
        ("2024-01-31", "2024-01-31"),
        ("'1e-4'", "1e-4"),
        ("~", None),
        ("", None),
    ],
)
def test_scalars_follow_yaml_1_2(tmp_path: Path, text: str, value: object) -> None:
    class Scalar(BaseModel):
        x: object = None

    found = load_config(write(tmp_path, f"x: {text}\n"), Scalar).x
    assert found == value
    assert type(found) is type(value)


def test_keys_are_text(tmp_path: Path) -> None:
    job = load_config(write(tmp_path, "seed: 1\nwords: {10: [{text: a}], on: [{text: b}], ~: []}\n"), Job)
    assert list(job.words) == ["10", "on", "~"]


def test_extends_merges_mappings_and_replaces_the_rest(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    write(tmp_path, "seed: 1\nrun: {num_workers: 2}\nwords: {w: [{text: a}, {text: b}]}\n", "base.yaml")
    write(tmp_path, "extends: base.yaml\nrun: {executor: ray}\n", "middle.yaml")
    path = write(tmp_path / "sub", "extends: ../middle.yaml\nseed: 2\nwords: {w: [{text: c}]}\n")
    job = load_config(path, Job)
    assert job.seed == 2
    assert job.run == Run(executor="ray", num_workers=2)
    assert job.words == {"w": (Value(text="c"),)}


def test_overrides_win_in_order_and_replace_what_they_name(tmp_path: Path) -> None:
    path = write(tmp_path, "seed: 1\nsolver: {name: newton, steps: 5}\n")
    job = load_config(
        path, Job, ["seed=2", "run.num_workers=3", "tolerance=1e-5", "seed=4", "solver={name: plain}", "path=a=b"]
    )
    assert (job.seed, job.run.num_workers, job.tolerance, job.solver) == (4, 3, 1e-5, Plain())
    assert job.path == Path("a=b")


def test_all_problems_at_once_each_with_file_key_value_and_remedy(tmp_path: Path) -> None:
    base = write(tmp_path, "run:\n  num_worker: 4\n", "base.yaml")
    path = write(tmp_path, "extends: base.yaml\nrun:\n  executor: rai\n\nseed: 1\nseed: 2\n")
    found = problems(path, "tolerance=tiny", "run.num_workers=0")
    assert found == [
        f"{path}:6: seed: given twice (first at {path}:5); keep one",
        f"{path}:3: run.executor: Input should be 'local' or 'ray'; did you mean 'ray'? (value 'rai')",
        "-o run.num_workers=0: run.num_workers: Input should be greater than or equal to 1 "
        "(value 0; processes that edit)",
        f"{base}:2: run.num_worker: unknown key (value 4); did you mean run.num_workers?",
        "-o tolerance=tiny: tolerance: Input should be a valid number, unable to parse string as a number "
        "(value 'tiny')",
    ]


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        ("run: {}", 1, "seed: required, but not given"),
        ("seed: 13", 1, "seed: thirteen is unlucky (value 13)"),
        ("seed: 1\nnum_workers: 2", 2, "num_workers: unknown key (value 2); did you mean run.num_workers?"),
        (
            "seed: 1\nqqq: 2",
            2,
            "qqq: unknown key (value 2); known keys here: run, solver, path, tolerance, words, seed",
        ),
        (
            "seed: 1\nsolver: {name: newton, step: 3}",
            2,
            "solver.step: unknown key (value 3); did you mean solver.steps?",
        ),
        (
            "seed: 1\nsolver:\n  name: newton\n  damping: {wieght: 3}",
            4,
            "solver.damping.wieght: unknown key (value 3); did you mean solver.damping.weight?",
        ),
        (
            "seed: 1\nsolver: {name: newtn}",
            2,
            "solver.name: unknown value 'newtn'; did you mean 'newton'? there are newton, plain",
        ),
        (
            "seed: 1\nsolver:\n  name: steepest_descent",
            3,
            "solver.name: unknown value 'steepest_descent'; there are newton, plain",
        ),
        ("seed: 1\nsolver: {steps: 3}", 2, "solver.name: required, but not given; there are newton, plain"),
        (
            "seed: 1\nwords:\n  w:\n    - text: a\n    - {text: b, wait: 2}",
            5,
            "words.w.1.wait: unknown key (value 2); did you mean words.w.1.weight?",
        ),
        ("seed: 1\nwords:\n  w:\n    - weight: 2", 4, "words.w.0.text: required, but not given"),
        ("seed: 1\n? [a]\n: 2", 2, "(top): a key must be plain text, not a list or a mapping"),
        ("seed: 1\nrun: &r {run: *r}", 2, "run.run: an alias that contains itself"),
        ("seed: [1", 1, "not valid YAML: expected ',' or ']', but got '<stream end>'"),
        ("seed: !!python/name:os.system x", 1, "not valid YAML: could not determine a constructor for the tag"),
    ],
)
def test_a_problem_names_its_line(tmp_path: Path, text: str, line: int, expected: str) -> None:
    path = write(tmp_path, text)
    assert problems(path)[0].startswith(f"{path}:{line}: {expected}")


def test_unusable_files(tmp_path: Path) -> None:
    path = write(tmp_path, "seed: 1\n", "emoji.yaml")
    assert problems(tmp_path / "emojy.yaml") == [f"{tmp_path / 'emojy.yaml'}: no such file; did you mean {path}?"]
    assert problems(tmp_path / "nowhere" / "a.yaml") == [f"{tmp_path / 'nowhere' / 'a.yaml'}: no such file"]
    assert problems(tmp_path) == [f"{tmp_path}: is a folder, not a file; it holds emoji.yaml"]
    path.write_text("- 1\n")
    assert problems(path) == [f"{path}: must hold `key: value` lines, but holds a list"]
    path.write_text("# nothing\n")
    assert problems(path) == [f"{path}: must hold `key: value` lines, but holds nothing"]
    path.write_bytes(b"\xff\xfe\xfa")
    assert problems(path) == [f"{path}: not a UTF-8 text file"]
    path.write_bytes(b"a: \x00")
    assert problems(path)[0].startswith(f"{path}: not valid YAML: ")


def test_unusable_bases(tmp_path: Path) -> None:
    path = write(tmp_path, "extends: gone.yaml\n")
    assert problems(path) == [f"{tmp_path / 'gone.yaml'}: no such file"]
    write(tmp_path, "extends: job.yaml\n", "other.yaml")
    path.write_text("extends: other.yaml\n")
    assert problems(path) == [f"{path}: extends itself, by way of job.yaml, other.yaml"]
    path.write_text("seed: 1\nextends: [a]\n")
    assert problems(path) == [f"{path}:2: extends: must name one YAML file (value ['a'])"]


def test_unusable_overrides(tmp_path: Path) -> None:
    path = write(tmp_path, "seed: 1\nwords: {w: []}\n")
    found = problems(path, "seed", "=3", "seed.x=1", "words.w.0=1", "seed=[", "run.workers=2")
    assert found[:4] == [
        "-o seed: must have the form dotted.key=value",
        "-o =3: must have the form dotted.key=value",
        "-o seed.x=1: seed has no keys below it, it is one value (1)",
        "-o words.w.0=1: words.w has no keys below it, it is a list: give it whole",
    ]
    assert found[4].startswith("-o seed=[:1: not valid YAML:")
    assert found[5:] == ["-o run.workers=2: run.workers: unknown key (value 2); did you mean run.num_workers?"]


def test_resolved_yaml_reads_back_equal_and_keeps_the_order(tmp_path: Path) -> None:
    words = {name: (Value(text=name, weight=1e-7),) for name in ("on", "1e-4", "0o17", "010", "~", "2024-01-31", "é")}
    job = Job(seed=7, path=Path("a/b"), tolerance=3e-9, words=words, solver=Plain())
    text = resolved_yaml(job)
    assert load_config(write(tmp_path, text), Job) == job
    assert [line.split(":")[0] for line in text.splitlines() if line[0].isalpha()] == list(Job.model_fields)
    assert yaml.safe_load(text)["words"] == job.model_dump(mode="json")["words"]


def test_a_file_that_is_a_link_to_itself(tmp_path: Path) -> None:
    (tmp_path / "loop.yaml").symlink_to(tmp_path / "loop.yaml")
    with pytest.raises(ConfigError, match=r"loop\.yaml: cannot be read \(Too many levels of symbolic links\)"):
        load_config(tmp_path / "loop.yaml", Job)


def test_a_file_that_is_nested_without_end(tmp_path: Path) -> None:
    (tmp_path / "deep.yaml").write_text("a: " + "[" * 3000 + "]" * 3000)
    with pytest.raises(ConfigError, match="nested too deeply"):
        load_config(tmp_path / "deep.yaml", Job)


@pytest.mark.parametrize(
    "value",
    [
        *(
            "fox",
            "",
            "no",
            "1e3",
            "null",
            "a: b",
            "# fox",
            "{x}",
            "it's",
            "two\nlines",
            "a\tb\u2028c",
            "狐狸",
            " ",
            "-",
        ),
        *(3, 0.5, True, None, ["a, b", "c"], {"name": "x: y", "text": "", "weight": 2}),
    ],
)
def test_inline_yaml_reads_back_equal_behind_a_key(value: object) -> None:
    class Holder(BaseModel):
        key: object
        after: int

    text = inline_yaml(value)
    assert "\n" not in text
    assert parse_config(f"key: {text} # why\nafter: 1\n", "a text", Holder) == Holder(key=value, after=1)


def test_a_text_is_checked_as_a_file_is() -> None:
    class Holder(BaseModel):
        model_config = ConfigDict(extra="forbid")
        strength: float

    assert parse_config("strength: 0.5", "a text", Holder, ["strength=0.7"]).strength == 0.7
    with pytest.raises(ConfigError, match=r"1 problem in a text:\n  a text:2: stregth: .* did you mean strength"):
        parse_config("strength: 1\nstregth: 1", "a text", Holder)
    with pytest.raises(ConfigError, match="a text: must hold `key: value` lines, but holds a list"):
        parse_config("[]", "a text", Holder)
