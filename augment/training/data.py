"""The pictures of a training run: listed, their classes and groups checked, decoded and kept in memory."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from augment.errors import ImageError, InputError
from augment.inputs.fit import Fit
from augment.inputs.images import decode_image
from augment.inputs.locate import absolute, join, read_file
from augment.inputs.packaged import packaged_path
from augment.inputs.readers import list_sources, read_bytes
from augment.training.config import CLASS, DataConfig, PicturesConfig
from augment.types import Source

_SHOWN = 10
_INPUT_KEY = re.compile(r"(?<![\w/.-])input\.(?=class_names|split|format|path)")


@dataclass(frozen=True)
class TrainingSets:
    """All pictures of a run.

    Attributes:
        class_names: of every class, in the order of the network's outputs.
        labels: what the datasets call these classes, in the same order.
        real, synthetic: trained on.
        val, test: looked at; `test` may be empty.
        passed_over: real pictures that were listed and are not trained on, because the ratio is 1: what the edits were
            made of, for the leak guard.
    """

    class_names: tuple[str, ...]
    labels: tuple[int, ...]
    real: list[Source]
    synthetic: list[Source]
    val: list[Source]
    test: list[Source]
    passed_over: list[Source] = field(default_factory=list)

    def targets(self, sources: Sequence[Source]) -> np.ndarray:
        """Return the place of each picture's class in `class_names`, int64 [N]."""
        place = {label: i for i, label in enumerate(self.labels)}
        return np.array([place[source.label] for source in sources], np.int64)

    @property
    def counts(self) -> dict[str, int]:
        """Return the number of pictures of each set."""
        return {name: len(getattr(self, name)) for name in ("real", "synthetic", "val", "test")}

    @property
    def counts_of_classes(self) -> dict[str, dict[str, int]]:
        """Return class -> the number of its pictures that are trained on, real and synthetic."""
        kinds = ("real", "synthetic")
        counts = {kind: Counter(source.label for source in getattr(self, kind)) for kind in kinds}
        named = zip(self.labels, self.class_names, strict=True)
        return {name: {kind: counts[kind][label] for kind in kinds} for label, name in named}


def list_sets(config: DataConfig) -> TrainingSets:
    """List all pictures of a run; none of them is decoded.

    Raises:
        InputError: if a dataset cannot be listed, the datasets do not agree about the classes, or a group is not known
            of every picture of val and test.
    """
    columns = [name for name in config.groups if name != CLASS]
    real = _listed("data.real", config.real) if config.real else []
    synthetic = _edits(config.synthetic.path) if config.synthetic and config.synthetic.ratio > 0 else []
    listed = real
    if config.synthetic and config.synthetic.ratio == 1:
        real = []
    val = _listed("data.val", config.val, columns)
    test = _listed("data.test", config.test, columns) if config.test else []
    names = _class_names({"data.real": listed, "data.synthetic": synthetic, "data.val": val, "data.test": test})
    for where, sources in (("data.val", val), ("data.test", test)):
        for column in columns:
            _check_group(where, sources, column)
    labels = tuple(sorted(names))
    class_names = tuple(names[label] for label in labels)
    if len(set(class_names)) < 2 or len(set(class_names)) < len(labels):
        twice = sorted({name for name in class_names if class_names.count(name) > 1})
        found = f"two labels are called {twice[0]!r}" if twice else f"there is one class only, {class_names[0]!r}"
        raise InputError(f"data: {found}; a classifier needs two classes or more, each with a name of its own")
    return TrainingSets(class_names, labels, real, synthetic, val, test, listed if listed is not real else [])


def groups_of(sources: Sequence[Source], names: Sequence[str]) -> dict[str, list[str]]:
    """Return the group of each picture, by the name of the division."""
    return {n: [s.class_name if n == CLASS else s.attributes[n] for s in sources] for n in names}


def _listed(where: str, config: PicturesConfig, columns: Sequence[str] = ()) -> list[Source]:
    packaged = packaged_path(config.path) if isinstance(config.path, str) else None
    paths = [config.path] if isinstance(config.path, str) else config.path
    located = [packaged] if packaged is not None else [absolute(path) for path in paths]
    place = located[0] if len(located) == 1 else located
    try:
        return list_sources(place, config.format, config.class_names, config.split, columns).sources
    except InputError as error:
        # Keys of the section `input` of an expansion are those of this section here.
        raise InputError(f"{where}: {_INPUT_KEY.sub(f'{where}.', str(error))}") from error


def _edits(path: str) -> list[Source]:
    """List the accepted edits of an output folder."""
    folder = absolute(path)
    try:
        read_file(join(folder, "manifest.json"))
    except InputError as error:
        raise InputError(
            f"data.synthetic.path: {path} has no manifest.json, so it is no output folder of `augment expand`, or one "
            f"that is not finished: run `augment expand` or `augment finalize` first ({error})"
        ) from error
    try:
        return list_sources(join(folder, "shards"), "webdataset").sources
    except InputError as error:
        raise InputError(f"data.synthetic: {error}") from error


def _class_names(sets: Mapping[str, Sequence[Source]]) -> dict[int, str]:
    """Return label -> class name of what is trained on. Raises InputError if another set contradicts it."""
    trained = next(name for name in ("data.real", "data.synthetic") if sets[name])
    names = {source.label: source.class_name for source in sets[trained]}
    for where, sources in sets.items():
        for label, name in sorted({(source.label, source.class_name) for source in sources}):
            if label not in names:
                raise InputError(
                    f"{where} has the class {label} ({name!r}), which {trained} does not have: it has the classes "
                    f"{', '.join(f'{n} ({names[n]!r})' for n in sorted(names)[:_SHOWN])}"
                )
            if name != names[label]:
                raise InputError(
                    f"class {label} is {name!r} in {where}, but {names[label]!r} in {trained}. Labels of folders and "
                    "of names in manifests are places in a sorted list: give all sets the same classes, or labels"
                )
    return names


def _check_group(where: str, sources: Sequence[Source], column: str) -> None:
    if unknown := [source for source in sources if not source.attributes.get(column)]:
        known = sorted({name for source in sources for name, value in source.attributes.items() if value})
        raise InputError(
            f"data.groups: {column!r} is not known of {len(unknown)} of the {len(sources)} pictures of {where}, the "
            f"first is {unknown[0].place}; of these pictures are known: {', '.join(known) or 'no attributes'}"
        )


class Pixels:
    """The decoded pixels of some pictures, fitted to one size; kept in memory as long as there is room.

    Args:
        sources: the pictures.
        fit: how they become squares.
        max_bytes: of decoded pixels that are kept.
    """

    def __init__(self, sources: Sequence[Source], fit: Fit, max_bytes: int) -> None:
        self._sources, self._fit = sources, fit
        self._room = max_bytes // (3 * fit.image_size**2)
        self._kept: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self._sources)

    def __getitem__(self, place: int) -> np.ndarray:
        """Return the pixels of a picture, uint8 [H, W, 3].

        Raises:
            InputError: if the picture is damaged, or no longer there.
        """
        found = self._kept.get(place)
        if found is None:
            source = self._sources[place]
            try:
                found = self._fit.padded(np.asarray(decode_image(read_bytes(source), self._fit)))
            except ImageError as error:
                raise InputError(f"{source.place}: {error}. Mend it, or take it out of the dataset") from error
            if len(self._kept) < self._room:
                self._kept[place] = found
        return found

    def take(self, places: Sequence[int]) -> np.ndarray:
        """Return the pixels of some pictures, uint8 [N, H, W, 3]."""
        return np.stack([self[place] for place in places])
