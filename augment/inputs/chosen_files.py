"""Which of the tars or manifests of a folder are for training, by their names, and what stands for them in a config."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from augment.errors import InputError
from augment.inputs.listing import some
from augment.inputs.locate import join
from augment.inputs.patterns import expand_files
from augment.inputs.splits import PartName, parts_among


@dataclass(frozen=True)
class ChosenFiles:
    """Files of a folder, chosen by what their names say about splits.

    Attributes:
        files: those chosen, by name.
        measured: those of other splits, which are not chosen.
        parts: the splits of those files that are called like one.
        notes: what else is not chosen, one text each.
        remarks: what is odd about those chosen, one text each.
    """

    files: tuple[str, ...]
    measured: tuple[str, ...]
    parts: dict[str, PartName]
    notes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def splits(self) -> tuple[str, ...]:
        """Return the splits of all files of the folder, each once."""
        return tuple(dict.fromkeys(part.split for part in self.parts.values()))

    @property
    def splits_measured(self) -> tuple[str, ...]:
        """Return the splits of `measured`, each once."""
        return tuple(dict.fromkeys(self.parts[name].split for name in self.measured))

    @property
    def told_by_name(self) -> bool:
        """Return whether those chosen are of a split."""
        return self.files[0] in self.parts

    def path_in(self, folder: str, extensions: tuple[str, ...]) -> str | tuple[str, ...]:
        """Return what stands for those chosen and no other file: a pattern, a file, the folder, or the list of them.

        A pattern comes first, because files of another split may join the folder.
        """
        files = sorted(join(folder, name) for name in self.files)
        for place in (*(join(folder, pattern) for pattern in self._patterns()), files[0], folder):
            try:
                if expand_files(place, extensions, "files")[0] == files:
                    return place
            except InputError:  # nothing has such a name, or that of the folder has characters that patterns have
                pass
        return tuple(files)

    def _patterns(self) -> list[str]:
        """Return patterns that may stand for those chosen, as `train-*.tar`; not `train*`, which `trainval` has too."""
        if not self.told_by_name:
            return []
        front = "".join(self.parts[self.files[0]])
        following = {name[len(front) : len(front) + 1] for name in self.files}
        return [
            f"{front}{following.pop() if len(following) == 1 else ''}*{ending}"
            for ending in {os.path.splitext(name)[1] for name in self.files}
        ]


def choose_files(names: Sequence[str]) -> ChosenFiles:
    """Choose the files for training: those that are called so, else those that are not called like another split."""
    parts, doubtful = parts_among(names)
    training = tuple(name for name, part in parts.items() if part.is_training)
    measured = tuple(name for name in parts if name not in training)
    others = tuple(name for name in names if name not in parts)
    if training:
        note = f"{some(others)} left out too: not called {parts[training[0]].split}, as {training[0]} is"
        return ChosenFiles(training, measured, parts, (note,) if others else ())
    if not others:
        splits = ", ".join(dict.fromkeys(part.split for part in parts.values()))
        return ChosenFiles(
            measured, (), parts, (), (f"all files are called {splits}: what is measured on must not be trained on",)
        )
    odd = [name for name in others if name in doubtful and not doubtful[name].is_training]
    remark = f"{some(odd)} taken too: if that is measured on, leave it out, because it must not be trained on"
    return ChosenFiles(others, measured, parts, (), (remark,) if odd else ())
