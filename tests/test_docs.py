"""The documentation: the site builds and needs no network, and what the pages name and show is there."""

from __future__ import annotations

import pkgutil
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from pydantic import BaseModel

from augment.cli.main import app
from augment.config import load_config
from augment.evaluation.benchmark import BenchmarkConfig
from augment.inversion.solvers import SOLVERS
from augment.loop.config import LoopConfig
from augment.prompts import PromptConfig
from augment.run.config import ExpandConfig
from augment.training.config import TrainingConfig

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
FILES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md")), ROOT / "jobs" / "cluster" / "README.md"]
PAGES = {str(file.relative_to(ROOT)): file.read_text() for file in FILES}
SMALLEST = {
    "input": {"path": "photos", "format": "imagefolder", "image_size": 64},
    "output": {"path": "out"},
    "prompts": "prompts.yaml",
}


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGES[page], flags=re.DOTALL)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built in a folder of its own."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_is_on_the_site_and_in_its_navigation(site: Path) -> None:
    pages = {page.stem for page in DOCS.glob("*.md")}
    assert {page.stem for page in site.glob("*.html")} == pages | {"404"}
    index = (site / "index.html").read_text()
    assert sorted(page for page in pages - {"index"} if f'href="{page}.html"' not in index) == []


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    loaded = re.compile(r"<(?:script|img|iframe|source|link)\b[^>]*?(?:src|href)=[\"']?((?:https?:)?//[^\"'\s>]+)")
    imported = re.compile(r"(?:@import|url\()\s*[\"']?((?:https?:)?//[^\"')\s]+)")
    found = [url for page in site.glob("*.html") for url in loaded.findall(page.read_text())]
    found += [url for sheet in site.rglob("*.css") for url in imported.findall(sheet.read_text())]
    assert found == []


def test_links_outside_the_site_lead_somewhere() -> None:
    for page, text in PAGES.items():
        for link in re.findall(r"\]\((?!https?:|#)([^)]+)\)", text):
            target = ROOT / Path(page).parent / link.partition("#")[0]
            assert target.exists(), f"{page}: {link}"


def test_files_that_pages_name_exist() -> None:
    named = {
        (page, name)
        for page, text in PAGES.items()
        for name in re.findall(r"(?:augment|jobs|configs|docs|tests)/[\w./-]*\.(?:py|yaml|md|svg|sh|sbatch)\b", text)
    }
    assert len(named) > 40
    assert sorted((page, name) for page, name in named if not (ROOT / name).is_file()) == []


def test_names_of_python_that_pages_name_exist() -> None:
    named = {name for text in PAGES.values() for name in re.findall(r"`((?:augment|jobs)(?:\.\w+)+)`", text)}
    named |= {name for text in PAGES.values() for name in re.findall(r"python -m (jobs\.\w+)", text)}
    named -= {"augment.models", "augment.datasets"}  # groups of entry points
    assert len(named) > 8
    for name in sorted(named):
        assert pkgutil.resolve_name(name) is not None


def test_every_solver_has_its_row_and_its_file() -> None:
    table = PAGES["docs/inversion.md"].partition("## The methods")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| `([\w/]+\.py)` \|", table, flags=re.MULTILINE))
    assert set(rows) == set(SOLVERS)
    assert [file for file in rows.values() if not (ROOT / "augment" / "inversion" / file).is_file()] == []


def options_of(command: str) -> set[str]:
    commands: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    return {option for parameter in commands[command].params for option in parameter.opts}


def test_commands_that_pages_show_can_be_typed() -> None:
    lines = [
        line.removeprefix(".venv/bin/")
        for page in PAGES
        for block in blocks(page, "bash")
        for line in block.replace("\\\n", " ").splitlines()
    ]
    shown = [shlex.split(line, comments=True) for line in lines if line.startswith("augment ")]
    assert len(shown) > 10
    for words in shown:
        assert {word for word in words[2:] if word.startswith("-")} <= options_of(words[1]), words


def is_field(schema: type[BaseModel], key: str) -> bool:
    first, _, rest = key.partition(".")
    if first not in schema.model_fields:
        return False
    inner = schema.model_fields[first].annotation
    nested = isinstance(inner, type) and issubclass(inner, BaseModel)
    return not rest or (is_field(inner, rest) if nested else True)  # type: ignore[arg-type]


def test_keys_that_pages_override_exist() -> None:
    found = {(page, key) for page, text in PAGES.items() for key in re.findall(r"-o ([a-z_]+\.[\w.]+)=", text)}
    found -= {(page, "dotted.key") for page in PAGES}
    assert len(found) > 4
    schemas = (ExpandConfig, BenchmarkConfig, TrainingConfig, LoopConfig)
    assert sorted(one for one in found if not any(is_field(schema, one[1]) for schema in schemas)) == []


@pytest.mark.parametrize(
    ("page", "number"), [(page, number) for page in PAGES for number in range(len(blocks(page, "yaml")))]
)
def test_configs_that_pages_show_are_valid(page: str, number: int, tmp_path: Path) -> None:
    shown = yaml.safe_load(blocks(page, "yaml")[number])
    whole = {"templates": PromptConfig, "edits_per_round": LoopConfig, "data": TrainingConfig}
    schema = next((whole[key] for key in whole if key in shown), ExpandConfig)
    file = tmp_path / "shown.yaml"
    file.write_text(yaml.safe_dump({**SMALLEST, **shown} if schema is ExpandConfig else shown))
    load_config(file, schema)
