"""The picture of the layers: it shows the imports that are there, and it is the one in docs/."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from jobs.draw_layers import PICTURE, ROOT, Layers, Member, read_layers, render

SVG = "{http://www.w3.org/2000/svg}"


def texts(picture: str) -> list[str]:
    return ["".join(element.itertext()).strip() for element in ElementTree.fromstring(picture).iter(f"{SVG}text")]


def titles(picture: str) -> list[str]:
    groups = ElementTree.fromstring(picture).iter(f"{SVG}g")
    return [title.text or "" for group in groups for title in group.iter(f"{SVG}title")]


def small_package(root: Path) -> None:
    """Write a package of two levels: `top` has two modules, of which both import `low` and one `base`."""
    for name, text in {
        "__init__.py": "",
        "top/__init__.py": '"""What is on top: a\n`command`. Not this."""',
        "top/a.py": "from small import low\nfrom small.base import x",
        "top/b.py": "import small.low\nimport small.top.a",
        "low.py": '"""Is it low? Yes."""',
        "base.py": "x = 1",
    }.items():
        (root / "small" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "small" / name).write_text(text)
    (root / "pyproject.toml").write_text(
        "[[tool.importlinter.contracts]]\ntype = 'forbidden'\n"
        "[[tool.importlinter.contracts]]\ntype = 'layers'\ncontainers = ['small']\nlayers = ['top', 'low | base']\n"
    )


def test_layers_are_those_of_the_contract_and_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_package(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    layers = read_layers(tmp_path, "small")
    assert layers.levels == (
        (Member("top", 2, "What is on top: a command"),),
        (Member("low", 1, "Is it low?"), Member("base", 1, "")),
    )
    assert layers.imports == {("top", "base"): 1, ("top", "low"): 2}


def test_an_arrow_for_each_import_and_no_other() -> None:
    levels = ((Member("top", 2, "Two words & more"),), (Member("low", 1, "Low"), Member("base", 3, "")))
    picture = render(Layers(levels, {("top", "low"): 7}))
    assert titles(picture) == ["top imports low"]
    assert texts(picture)[:9] == ["2", "1", "top", "2 modules", "Two words & more", "low", "1 module", "Low", "base"]


def test_higher_levels_are_drawn_above_lower_ones() -> None:
    layers = read_layers()
    picture = render(layers)
    at = {name: float(y) for y, name in re.findall(r' y="([\d.]+)" font-size="15"[^>]*>(\w+)<', picture)}
    rows = [{at[member.name] for member in level} for level in layers.levels]
    assert [len(row) for row in rows] == [1] * len(rows)
    assert all(at[importer] < at[imported] for importer, imported in layers.imports)
    assert len(layers.levels) <= 9


def test_every_folder_says_what_it_is() -> None:
    assert [member.name for level in read_layers().levels for member in level if not member.summary] == []


def test_the_picture_in_docs_is_the_one_of_this_source() -> None:
    assert (ROOT / PICTURE).read_text() == render(read_layers()), "run `make docs` and commit docs/images/layers.svg"
