"""The files of a loop's rounds. A round is done when its `report.json` is there; what is done is not done again.

loop.json             the settings and the pictures that all rounds share
edits/                output folder of the expansion, which grows
rounds/N/choice.json  what round N edits, and why (from round 1 on)
rounds/N/prompts/     table of the prompts of all edits up to round N, which the expansion reads
rounds/N/train/       folder of the training, without test
rounds/0/early-*.csv  loss of every real picture after a few steps
rounds/N/report.json  the figures of the round
rounds/N/test.json    what test says, of a round that was the best one when the loop had ended
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from augment.errors import TrainingError
from augment.ledger.plan import fingerprint_difference
from augment.loop.config import PICTURES
from augment.storage.tar import write_bytes_atomic

Row = dict[str, Any]


@dataclass(frozen=True)
class LoopFolder:
    """The folder of a loop."""

    out: Path

    @property
    def edits(self) -> Path:
        """Return the output folder of the expansion."""
        return self.out / "edits"

    def round(self, number: int) -> Path:
        """Return the folder of a round."""
        return self.out / "rounds" / str(number)

    def prompts(self, number: int) -> Path:
        """Return the folder of a round's table of prompts."""
        return self.round(number) / "prompts"

    def check(self, settings: Row) -> None:
        """Write down the settings of `LoopConfig.settings`, or compare them with those of the loop that is there.

        Raises:
            TrainingError: if it has other settings, or other pictures.
        """
        path = self.out / "loop.json"
        there = _read(path)
        if there is None:
            write_json(path, settings)
            return
        listed = {name: digest for name, digest in settings.items() if name.startswith(f"{PICTURES}.")}
        noted = {**listed, **there}  # loops of earlier versions have not noted the pictures
        if changed := [name.removeprefix(f"{PICTURES}.") for name in listed if noted[name] != listed[name]]:
            raise TrainingError(
                f"{self.out}: the pictures of {' and '.join(changed)} have changed since the loop began there: some "
                "were added, removed or replaced, or have another class or attribute. Its rounds could not be "
                "compared. Restore the pictures, or choose another --out"
            )
        if difference := fingerprint_difference(noted, settings):
            shown = [line.replace(" in the plan", " there") for line in difference[:5]]
            head = f"{self.out} holds a loop with other settings. Choose another --out, or restore them:"
            raise TrainingError("\n  ".join([head, *shown]))
        if noted != there:
            write_json(path, noted)

    def rows(self) -> list[Row]:
        """Return the reports of the rounds that are done, in order."""
        found: list[Row] = []
        while (row := _read(self.round(len(found)) / "report.json")) is not None:
            found.append(row)
        return found

    def read(self, number: int, name: str) -> Row | None:
        """Return a JSON file of a round; None if it is not there."""
        return _read(self.round(number) / name)

    def write(self, number: int, name: str, content: Row) -> None:
        """Write a JSON file of a round, whole or not at all."""
        write_json(self.round(number) / name, content)


def write_json(path: Path, content: Row) -> None:
    """Write a JSON file, whole or not at all."""
    write_bytes_atomic(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def _read(path: Path) -> Row | None:
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise TrainingError(f"{path} cannot be read ({error}); delete it to do this part again") from error
    assert isinstance(content, dict)
    return content
