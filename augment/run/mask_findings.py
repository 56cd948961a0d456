"""What is wrong or odd about masks, before a run: where they come from, and what is held without them. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from augment.models.segmentation_files import unnamed_classes
from augment.run.config import ExpandConfig
from augment.types import Source

HELD_AT_MOST = 0.25  # share of the steps in which the whole picture may attend as its source: more loses the target
_SHOWN = 5


def mask_problems(config: ExpandConfig, sources: Sequence[Source]) -> Iterator[str]:
    """Yield why `editing.preserve: mask` has no mask to go by."""
    if config.editing.preserve != "mask" or config.segmentation or any(source.mask for source in sources):
        return
    of_format = {
        "webdataset": "no sample has a member mask.png. Put one beside each image (0001.png, 0001.mask.png), white "
        "where the picture is kept",
        "manifest": "no row has a mask. Give the paths of masks, white where the picture is kept, in the column mask",
    }
    none = f"the format {config.input.format!r} has no masks. List the images and their masks in a manifest"
    yield (
        f"editing.preserve: mask: {of_format.get(config.input.format, none)}, or name a model that finds the objects "
        "in segmentation.name, or take attention or difference"
    )


def mask_warnings(config: ExpandConfig, sources: Sequence[Source], class_names: Mapping[int, str]) -> Iterator[str]:
    """Yield what is odd about masks: images or classes without one, and pictures that are held as a whole.

    Raises:
        ModelError: if the config of the segmentation model cannot be read.
    """
    yield from _images_without(config, sources)
    yield from _segmentation_warnings(config, class_names)
    yield from _holding_warnings(config)


def _images_without(config: ExpandConfig, sources: Sequence[Source]) -> Iterator[str]:
    without = [source for source in sources if not source.mask]
    if config.editing.preserve == "mask" and not config.segmentation and 0 < len(without) < len(sources):
        yield (
            f"editing.preserve: mask: {len(without)} of {len(sources)} images have no mask, the first is "
            f"{without[0].place}; nothing of them is kept"
        )


def _segmentation_warnings(config: ExpandConfig, class_names: Mapping[int, str]) -> Iterator[str]:
    if config.segmentation is None:
        return
    if config.editing.preserve != "mask":
        yield f"segmentation: is not read, because editing.preserve is {config.editing.preserve}; set it to mask"
        return
    if unnamed := unnamed_classes(config.segmentation, class_names):
        some = ", ".join(map(repr, unnamed[:_SHOWN])) + (", ..." if len(unnamed) > _SHOWN else "")
        yield (
            f"segmentation.name: {config.segmentation.name!r} has no label for {len(unnamed)} of {len(class_names)} "
            f"classes: {some}; nothing of their pictures is kept. Say in segmentation.words what it calls them"
        )


def _holding_warnings(config: ExpandConfig) -> Iterator[str]:
    """Say that nothing may change, where positions attend as in the source and no mask says which ones."""
    share = config.editing.self_replace_steps
    if config.editing.preserve == "none" and share > HELD_AT_MOST:
        yield (
            f"editing.self_replace_steps: {share:g} without a mask holds the whole picture, not the object alone, and "
            "loses targets; take editing.preserve: attention with it, or a quarter of the steps at most"
        )
