"""Draw the layers of the package, and the imports between them, as an SVG picture.

python -m jobs.draw_layers [FILE]

The levels are those of the layers contract in pyproject.toml, the arrows are the imports that are in the source, and a
box says what the first sentence of its docstring says; so the picture is true as long as `make lint` passes and it is
drawn again. The same sources give the same bytes.
"""

from __future__ import annotations

import argparse
import ast
import re
import textwrap
import tomllib
from collections import Counter
from dataclasses import dataclass
from html import escape
from pathlib import Path

import grimp

ROOT = Path(__file__).parent.parent
PICTURE = Path("docs/images/layers.svg")
PACKAGE = "augment"

# Lengths in pixels. A line of text is wrapped by its number of letters: the font is whatever the reader has.
WIDTH, MARGIN, GUTTER = 1200, 20, 44
BOX_GAP, LEVEL_GAP, TIP = 14, 44, 7
NAME_HEIGHT, LINE_HEIGHT, PADDING = 26, 15, 9
LETTER = 6.5  # mean width of a letter of a summary
MAX_BOX_WIDTH = 330
LEGEND = (
    "A level imports those below it only, and folders of one level do not import each other. "
    "Arrows are imports, the darker the more there are."
)
FONT = "system-ui, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif"
INK, FAINT, PAPER, BAND = "#1f2937", "#64748b", "#ffffff", "#f1f5f9"
COLOURS = ["#7c3aed", "#4f46e5", "#2563eb", "#0284c7", "#0891b2", "#0d9488", "#059669", "#65a30d", "#a16207"]


@dataclass(frozen=True)
class Member:
    """One folder or module of the package.

    Attributes:
        modules: number of Python files in it that are not `__init__.py`; 1 if it is one itself.
        summary: first sentence of its docstring, "" if it has none.
    """

    name: str
    modules: int
    summary: str


@dataclass(frozen=True)
class Layers:
    """What is drawn.

    Attributes:
        levels: the members of each level, from the highest level to the lowest.
        imports: (importer, imported) -> number of module pairs, one importing the other, in different members.
    """

    levels: tuple[tuple[Member, ...], ...]
    imports: dict[tuple[str, str], int]


@dataclass(frozen=True)
class Box:
    """Where a member is drawn: corner, width and height in pixels, and its summary cut into lines."""

    member: Member
    level: int
    x: float
    y: float
    width: float
    height: float
    lines: tuple[str, ...]


def read_layers(root: Path = ROOT, package: str = PACKAGE) -> Layers:
    """Return the layers of a package as its contract orders them and its source has them.

    Args:
        root: folder with pyproject.toml.
        package: name of an importable package; its contract of type `layers` is the one that has it as a container.

    Raises:
        StopIteration: if pyproject.toml has no such contract.
    """
    contracts = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    contract = next(c for c in contracts if c["type"] == "layers" and package in c["containers"])
    graph = grimp.build_graph(package, cache_dir=None)
    levels = tuple(
        tuple(_member(graph, root, f"{package}.{name.strip()}") for name in level.split("|"))
        for level in contract["layers"]
    )
    drawn = {member.name for level in levels for member in level}
    imports: Counter[tuple[str, str]] = Counter()
    for module in sorted(graph.modules):
        for imported in graph.find_modules_directly_imported_by(module):
            pair = (_top(module, package), _top(imported, package))
            if pair[0] != pair[1] and drawn.issuperset(pair):
                imports[pair] += 1
    return Layers(levels, dict(sorted(imports.items())))


def render(layers: Layers) -> str:
    """Return the picture as the text of an SVG file."""
    boxes = _place(layers)
    height = max(box.y + box.height for box in boxes.values()) + LEVEL_GAP
    title = f"The {len(layers.levels)} levels of the package {PACKAGE}; arrows are imports"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" font-family="{FONT}" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{height:.0f}" rx="12" fill="{PAPER}"/>',
        *_bands(boxes, len(layers.levels)),
        *_arrows(boxes, layers.imports),
        *(_drawn_box(box) for box in boxes.values()),
        f'<text x="{WIDTH / 2}" y="{height - 12:.1f}" font-size="12" text-anchor="middle" fill="{FAINT}">',
        f"{LEGEND}</text>",
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _member(graph: grimp.ImportGraph, root: Path, module: str) -> Member:
    inside = graph.find_descendants(module)
    file = root / module.replace(".", "/")
    file = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
    text = ast.get_docstring(ast.parse(file.read_text())) or ""
    sentence = re.split(r"(?<=[.?!])\s", text)[0].rstrip(".").replace("`", "")
    modules = sum(not graph.find_children(m) for m in inside) or 1
    return Member(module.rpartition(".")[2], modules, " ".join(sentence.split()))


def _top(module: str, package: str) -> str:
    return module.removeprefix(f"{package}.").partition(".")[0]


def _place(layers: Layers) -> dict[str, Box]:
    """Give each member its place: the levels one below the other, the members of a level side by side."""
    boxes = {}
    top: float = MARGIN
    for number, level in enumerate(layers.levels):
        room = WIDTH - 2 * MARGIN - GUTTER
        width = min(MAX_BOX_WIDTH, (room - BOX_GAP * (len(level) - 1)) / len(level))
        cut = [tuple(textwrap.wrap(member.summary, int((width - 2 * PADDING) / LETTER))) for member in level]
        height = NAME_HEIGHT + LINE_HEIGHT * max(map(len, cut)) + PADDING
        left = MARGIN + GUTTER + (room - width * len(level) - BOX_GAP * (len(level) - 1)) / 2
        for place, (member, lines) in enumerate(zip(level, cut, strict=True)):
            x = left + place * (width + BOX_GAP)
            boxes[member.name] = Box(member, number, x, top, width, height, lines)
        top += height + LEVEL_GAP
    return boxes


def _bands(boxes: dict[str, Box], levels: int) -> list[str]:
    bands = []
    for number in range(levels):
        box = next(b for b in boxes.values() if b.level == number)
        x, y, height = MARGIN - 8, box.y - 8, box.height + 16
        bands.append(
            f'<rect x="{x}" y="{y:.1f}" width="{WIDTH - 2 * x}" height="{height:.1f}" rx="10" fill="{BAND}"/>'
            f'<text x="{x + 24}" y="{box.y + box.height / 2 + 7:.1f}" text-anchor="middle" font-size="20" '
            f'font-weight="600" fill="{COLOURS[number % len(COLOURS)]}">{levels - number}</text>'
        )
    return bands


def _arrows(boxes: dict[str, Box], imports: dict[tuple[str, str], int]) -> list[str]:
    """Return a faint curve for each pair, darker from two and from five imports on."""
    leaving = {name: [pair for pair in imports if pair[0] == name] for name in boxes}
    ending = {name: [pair for pair in imports if pair[1] == name] for name in boxes}
    arrows = []
    for pair, count in imports.items():
        source, target = (boxes[name] for name in pair)
        x1, y1 = _port(source, leaving[pair[0]], pair, boxes, 1), source.y + source.height
        x2, y2 = _port(target, ending[pair[1]], pair, boxes, 0), target.y - 1
        bend = min(70.0, (y2 - y1) * 0.6)
        opacity = 0.22 if count == 1 else 0.35 if count < 5 else 0.5
        colour = COLOURS[source.level % len(COLOURS)]
        arrows.append(
            f'<g opacity="{opacity:.2f}"><title>{pair[0]} imports {pair[1]}</title>'
            f'<path d="M{x1:.1f} {y1:.1f}C{x1:.1f} {y1 + bend:.1f} {x2:.1f} {y2 - bend:.1f} {x2:.1f} {y2 - TIP:.1f}" '
            f'fill="none" stroke="{colour}" stroke-width="1.3"/>'
            f'<path d="M{x2:.1f} {y2:.1f}l{-TIP / 2} {-TIP}h{TIP}z" fill="{colour}"/></g>'
        )
    return arrows


def _port(box: Box, pairs: list[tuple[str, str]], pair: tuple[str, str], boxes: dict[str, Box], other: int) -> float:
    """Return where on a box's edge an arrow touches it: in the order of the other ends, from left to right."""
    order = sorted(pairs, key=lambda p: (boxes[p[other]].x + boxes[p[other]].width / 2, boxes[p[other]].y))
    return box.x + box.width * (order.index(pair) + 1) / (len(order) + 1)


def _drawn_box(box: Box) -> str:
    colour = COLOURS[box.level % len(COLOURS)]
    modules = "1 module" if box.member.modules == 1 else f"{box.member.modules} modules"
    lines = "".join(
        f'<text x="{box.x + PADDING:.1f}" y="{box.y + NAME_HEIGHT + 9 + i * LINE_HEIGHT:.1f}" font-size="11.5" '
        f'fill="{INK}">{escape(line)}</text>'
        for i, line in enumerate(box.lines)
    )
    return (
        f'<rect x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" rx="7" '
        f'fill="{PAPER}" stroke="{colour}" stroke-width="1.4"/>'
        f'<text x="{box.x + PADDING:.1f}" y="{box.y + 19:.1f}" font-size="15" font-weight="700" fill="{colour}">'
        f"{box.member.name}</text>"
        f'<text x="{box.x + box.width - PADDING:.1f}" y="{box.y + 19:.1f}" font-size="11" text-anchor="end" '
        f'fill="{FAINT}">{modules}</text>{lines}'
    )


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Draw the layers of the package as an SVG picture.")
    parser.add_argument("file", type=Path, nargs="?", default=ROOT / PICTURE, help=f"default: {PICTURE}")
    file = parser.parse_args().file
    file.write_text(render(read_layers()))
    print(f"wrote {file}")


if __name__ == "__main__":
    main()
