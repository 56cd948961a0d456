"""Images of a dataset that are likely no pictures of their class: masks in its folder, or in the sample of a tar."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from augment.inputs.detect import BESIDE
from augment.inputs.listing import MORE_IMAGES, left_out_text, some
from augment.types import Source

_MASK_OF = re.compile(r"(.+)[_-](?:masks?|seg|segmentation|gt|annotation)(?:[_-]?\d+)?", re.IGNORECASE | re.DOTALL)
_REMEDY = (
    "All of them are edited and published as pictures of their class. Move what is none out of the dataset; the column "
    "`mask` of a manifest says which file is the mask of a picture"
)


def likely_masks(format: str, sources: Sequence[Source], left_out: Mapping[str, int]) -> Iterator[str]:
    """Yield what is odd about the names and places of a dataset's images, one text each.

    Args:
        format: of the dataset. What a manifest lists is meant, so of manifests nothing is said.
        sources: its images.
        left_out: kind -> number of the files that are not among them.
    """
    if format == "webdataset":
        yield from _several_in_a_sample(left_out)
    if format not in ("imagefolder", "flat"):
        return
    depth = 1 if format == "imagefolder" else 0  # the outermost folder is the class
    beside = {source.key: folder for source in sources if (folder := _folder_beside(source.key, depth))}
    if beside:
        counts = [f"{folder} ({count})" for folder, count in sorted(Counter(beside.values()).items())]
        yield f"images in folders that are called like masks or notes: {some(counts)}. {_REMEDY}"
    yield from _called_like_masks(sources)
    if depth:
        told = {source.label for source in sources if source.key in beside}
        yield from _without_direct_images([source for source in sources if source.label not in told])


def _several_in_a_sample(left_out: Mapping[str, int]) -> Iterator[str]:
    several = {kind: count for kind, count in left_out.items() if kind.startswith(f"{MORE_IMAGES} (")}
    if several:
        yield (
            f"samples with several images: {left_out_text(several)}. If what is taken is a mask, write the tar anew "
            "with two dots in the names of masks, as in `0001.mask.png`"
        )


def _folder_beside(key: str, depth: int) -> str:
    """Return the folder below the class that is no picture's by its name; "" if there is none."""
    folders = key.split("/")[:-1]
    return next(("/".join(folders[: i + 1]) for i in range(depth, len(folders)) if folders[i].lower() in BESIDE), "")


def _called_like_masks(sources: Sequence[Source]) -> Iterator[str]:
    """Yield how many images are called like the mask of another one in their folder: `0.png` and `0_mask.png`."""
    stems = {os.path.splitext(source.locator)[0]: source.place for source in sources}
    masks = [stem for stem in stems if (found := _MASK_OF.fullmatch(stem)) and found[1] in stems]
    if masks:
        yield f"{len(masks)} images are called like masks of others, the first is {stems[min(masks)]}. {_REMEDY}"


def _without_direct_images(sources: Sequence[Source]) -> Iterator[str]:
    """Yield the classes whose folders hold several folders of images, and no image beside these."""
    inner: dict[str, set[str]] = defaultdict(set)
    for source in sources:
        name, *folders = source.key.split("/")[:-1]
        inner[name].add(folders[0] if folders else "")
    several = [
        f"{name} ({some(sorted(folders))})"
        for name, folders in sorted(inner.items())
        if len(folders) > 1 and "" not in folders
    ]
    if several:
        yield (
            f"class folders that hold several folders of images and no image beside these: {some(several)}. All images "
            "in them are of the one class; if the inner folders are the classes, input.path is a folder too high"
        )
