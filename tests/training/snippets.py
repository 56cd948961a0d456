"""The snippets of docs/training.md as they stand there, only with smaller numbers, and the data that they read."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import torch
from torchvision.transforms import v2

from tests.run.runs import ROOT
from tests.training.output import write_output
from tests.training.toy import NAMES, SIZE, files_of, picture, write_split

PAGE = (ROOT / "docs" / "training.md").read_text()
TRANSFORM = v2.Compose([v2.ToImage(), v2.Resize((SIZE, SIZE)), v2.ToDtype(torch.float32, scale=True)])
TOY = {"10_000": "48", "224": str(SIZE), "64": "8", "90": "1"}


def run_snippet(title: str, **names: Any) -> dict[str, Any]:
    """Run the first Python block below a heading, with some names given, and return all its names."""
    found = re.search(rf"^### {re.escape(title)}\n.*?```python\n(.*?)```", PAGE, flags=re.DOTALL | re.MULTILINE)
    assert found, title
    code = re.sub(rf"\b({'|'.join(TOY)})\b", lambda number: TOY[number[0]], found[1])
    exec(compile(code, f"docs/training.md: {title}", "exec"), names)
    return names


def write_data(folder: Path) -> None:
    """Write what the snippets read: train and val of `photos`, train as tars, and edits of train."""
    for split, (label, name) in itertools.product(("train", "val"), enumerate(NAMES)):
        pictures = folder / "photos" / split / f"{label}_{name}"
        pictures.mkdir(parents=True)
        for number in range(8):
            (pictures / f"{number}.png").write_bytes(picture(label, number, split))
    (folder / "data" / "train").mkdir(parents=True)
    write_split(folder / "data" / "train", "000", 8)
    write_output(folder / "out" / "photos", files_of("train", 8), count=8)
