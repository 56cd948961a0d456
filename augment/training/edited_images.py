"""The accepted edits of an output folder as a map-style dataset: any edit by its place, at random.

from augment.training.edited_images import EditedImages
edits = EditedImages("out/photos", transform)
image, label = edits[0]
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from augment.errors import ImageError, InputError
from augment.inputs.images import decode_image
from augment.inputs.locate import absolute, join, open_file, reaching
from augment.inputs.shard_listing import image_members, read_member
from augment.storage.parquet import read_parquet
from augment.training.leaks import refuse_held_out
from augment.types import EditStatus

_AT_ONCE = 8  # shards whose headers are read at the same time: of remote ones each mostly waits for the network
_ATTRIBUTES = ("target_attributes", "source_attributes")  # fields that are JSON objects


class EditedImages(Dataset[tuple[Any, int]]):
    """Accepted edits, in the order of `index.parquet`, as (image, label).

    Each read is one access to the tar that holds the edit, by its place there; from an object store that is a request.
    Nothing but images is decoded.

    Args:
        folder: output folder of `augment expand`, as a path or a URL.
        transform: called with the RGB picture (PIL); without it the picture itself is given.
        held_out: datasets to measure on; edits of their pictures are refused (see `refuse_held_out`).

    Attributes:
        targets: label of each edit.
        class_names: label -> word.
        class_folders: folder of a class, as the keys of the sources have it -> label; empty if keys have no such.
        records: table with a row for each edit, the fields of `EditRecord` and the shard.

    Raises:
        InputError: if the folder is no finished output folder, or its shards and its index do not agree.
        LeakError: if there are edits of pictures held out.
    """

    def __init__(
        self,
        folder: Path | str,
        transform: Callable[[Any], Any] | None = None,
        *,
        held_out: Sequence[Path | str] = (),
    ) -> None:
        self.transform = transform
        root = absolute(str(folder))
        index = join(root, "index.parquet")
        with reaching(index), open_file(index) as file:
            self.records = read_parquet(file, filters=[("status", "=", EditStatus.ACCEPTED.value)])
        self.targets: list[int] = self.records["label"].to_pylist()
        self.class_names: dict[int, str] = dict(
            sorted(zip(self.targets, self.records["class_name"].to_pylist(), strict=True))
        )
        self.class_folders = folders_of_labels(self.records["source_key"].to_pylist(), self.targets)
        shards = sorted(set(self.records["shard"].to_pylist()))
        paths = [join(root, shard) for shard in shards]
        if held_out and paths:
            refuse_held_out(held_out, synthetic=paths)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            members = dict(zip(shards, pool.map(image_members, paths), strict=True))
        self._places = []
        for shard, key in zip(self.records["shard"].to_pylist(), self.records["key"].to_pylist(), strict=True):
            if key not in members[shard]:
                raise InputError(
                    f"{join(root, shard)} has no picture {key!r}, which index.parquet says it has: look with "
                    "`augment verify`, and publish again with `augment finalize`"
                )
            self._places.append(members[shard][key])

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, place: int) -> tuple[Any, int]:
        """Return image and label of an edit. Raises InputError if it is no longer there, or damaged."""
        locator, size = self._places[place]
        try:
            image = decode_image(read_member(locator, size))
        except ImageError as error:
            raise InputError(f"{locator.rpartition('@')[0]}: {error}: look with `augment verify`") from error
        return (self.transform(image) if self.transform else image), self.targets[place]

    def record(self, place: int) -> dict[str, Any]:
        """Return the record of an edit: source, prompts, settings, scores."""
        found: dict[str, Any] = self.records.slice(place, 1).to_pylist()[0]
        return found

    def groups(self, name: str) -> list[str]:
        """Return the group of each edit: a field of the record, or an attribute of the target, or else of the source.

        Raises:
            InputError: if that is not known of an edit.
        """
        if name in self.records.column_names:
            return [str(value) for value in self.records[name].to_pylist()]
        found = [None] * len(self)
        for field in reversed(_ATTRIBUTES):
            for place, text in enumerate(self.records[field].to_pylist()):
                found[place] = json.loads(text).get(name, found[place])
        if None in found:
            raise InputError(
                f"{name!r} is not known of edit {self.records['key'][found.index(None)]}: it is neither a field of the "
                "record nor an attribute of its prompts"
            )
        return [str(value) for value in found]


def folders_of_labels(keys: Iterable[str], labels: Iterable[int]) -> dict[str, int]:
    """Return folder -> label, for the outermost folders of the keys that tell the classes apart; empty if none do."""
    found = {(tuple(key.split("/")[:-1]), label) for key, label in zip(keys, labels, strict=True)}
    for depth in range(min((len(folders) for folders, _ in found), default=0)):
        pairs = {(folders[depth], label) for folders, label in found}
        if 1 < len(pairs) == len({folder for folder, _ in pairs}) == len({label for _, label in pairs}):
            return dict(pairs)
    return {}
