"""Two map-style datasets as one: the ratio, the turns, and classes that must be the same."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from torch.utils.data import DataLoader, Subset
from torchvision.datasets import ImageFolder

from augment.errors import InputError
from augment.inputs.readers import list_sources
from augment.training.mixed_images import MixedImages
from tests.training.toy import picture


class Numbers:
    """A dataset whose image is its own number."""

    def __init__(self, first: int, count: int) -> None:
        self.numbers = list(range(first, first + count))

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, place: int) -> tuple[int, int]:
        return self.numbers[place], int(self.numbers[place] >= 100)


def test_mixed_images_have_the_exact_ratio_and_give_each_its_turn() -> None:
    mixed = MixedImages(Numbers(0, 12), Numbers(100, 5), ratio=0.25, transform=lambda image: -image)
    assert len(mixed) == 17
    seen = Counter[int]()
    for epoch in range(12):
        mixed.set_epoch(epoch)
        labels = [label for _, label in (mixed[i] for i in range(17))]
        assert sum(labels) in (4, 5)
        seen.update(image for image, _ in (mixed[i] for i in range(17)))
    # 204 samples: 51 edits and 153 real ones, in passes over 5 and 12.
    assert sum(n for image, n in seen.items() if image <= -100) == 51
    assert {n for image, n in seen.items() if image <= -100} == {10, 11}
    assert {n for image, n in seen.items() if image > -100} == {12, 13}
    assert len(list(mixed)) == 17  # type: ignore[call-overload]
    with pytest.raises(IndexError):
        mixed[17]
    loader = DataLoader(mixed, batch_size=17, num_workers=1, persistent_workers=True)
    epochs = []
    for epoch in (0, 1):
        mixed.set_epoch(epoch)
        epochs.append([images.tolist() for images, _ in loader])
        assert epochs[-1] == [[mixed[i][0] for i in range(17)]]
    assert epochs[0] != epochs[1]
    with pytest.raises(ValueError, match="ratio is 2, expected 0 to 1"):
        MixedImages(Numbers(0, 1), Numbers(0, 1), ratio=2)


class Named(Numbers):
    """Edits whose class names are known."""

    def __init__(self, class_names: dict[int, str]) -> None:
        super().__init__(0, 4)
        self.class_names = class_names


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three classes, which torchvision and timm put in another order."""
    for label, name in enumerate(("road_sign_10", "road_sign_2", "x-ray")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.png").write_bytes(picture(label, 0, "train"))
    return tmp_path


def test_labels_of_torchvision_are_those_of_edits(folder: Path) -> None:
    real = ImageFolder(folder)
    listed = list_sources(str(folder), "imagefolder", {}).sources
    edits = Named({source.label: source.class_name for source in listed})
    for dataset in (real, Subset(real, [0, 2])):
        assert len(MixedImages(dataset, edits)) == len(dataset) + 4
    MixedImages(real, Named({0: "stop sign", 2: "x-ray"}))  # words of `input.class_names`, of some classes
    MixedImages(real, Numbers(0, 4))  # nothing is known


def test_labels_of_timm_may_be_others(folder: Path) -> None:
    from timm.data import create_dataset

    listed = list_sources(str(folder), "imagefolder", {}).sources
    edits = Named({source.label: source.class_name for source in listed})
    with pytest.raises(InputError, match=r"2 classes .* 'road sign 10': 0 there, 1 here"):
        MixedImages(create_dataset("", folder), edits)
    names = folder / "classes.txt"
    names.write_text("".join(f"{name}\n" for name in sorted(p.name for p in folder.iterdir() if p.is_dir())))
    MixedImages(create_dataset("", folder, class_map=str(names)), edits)


def test_a_number_in_front_of_every_folder_is_no_part_of_the_word() -> None:
    real = Numbers(0, 2)
    real.class_to_idx = {"001.Red_fox": 0, "002.Owl": 1}  # type: ignore[attr-defined]
    MixedImages(real, Named({0: "Red fox", 1: "Owl"}))
    with pytest.raises(InputError, match="'Owl': 0 there, 1 here"):
        MixedImages(real, Named({0: "Owl", 1: "Red fox"}))


def test_a_word_that_means_two_classes_refuses_nothing() -> None:
    real = Numbers(0, 2)
    real.class_to_idx = {"crane": 517, "fox": 1}  # type: ignore[attr-defined]  # torchvision's ImageNet forgets 134
    MixedImages(real, Named({134: "crane", 517: "crane", 1: "fox"}))
    with pytest.warns(UserWarning, match="1 class has another label in the edits .* 'crane': 134 there, 517 here"):
        MixedImages(real, Named({134: "crane", 1: "fox"}))
