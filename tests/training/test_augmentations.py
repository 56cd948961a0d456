"""Each option of classical augmentation: what it changes, and that labels stay right."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from augment.training.augmentations import Augmentation
from augment.training.config import AugmentationConfig

SIZE, BATCH, CLASSES = 16, 6, 4
OF_EACH: dict[str, Any] = {
    "flip": {"flip": 1.0},
    "crop": {"crop": 0.3},
    "color_jitter": {"color_jitter": {}},
    "rand_augment": {"rand_augment": {}},
    "trivial_augment": {"trivial_augment": True},
    "augmix": {"augmix": {}},
    "random_erasing": {"random_erasing": 1.0},
}


def pictures() -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (BATCH, 3, SIZE, SIZE), np.uint8))


def made(settings: dict[str, Any], pixels: Tensor, labels: Tensor, seed: int = 1) -> tuple[Tensor, Tensor]:
    return Augmentation(AugmentationConfig(**settings), CLASSES, SIZE)(pixels, labels, seed)


LABELS = torch.tensor([0, 1, 2, 3, 0, 1])


def test_without_options_pictures_are_only_scaled() -> None:
    images, labels = made({}, pictures(), LABELS)
    assert torch.equal(images, (pictures().float() / 255 - 0.5) / 0.5)
    assert torch.equal(labels, LABELS)
    other = Augmentation(AugmentationConfig(), CLASSES, SIZE, mean=0.25, std=0.125).plain(pictures())
    assert torch.equal(other, (pictures().float() / 255 - 0.25) / 0.125)


@pytest.mark.parametrize("name", OF_EACH)
def test_an_option_changes_pictures_by_the_seed_and_keeps_labels(name: str) -> None:
    settings = OF_EACH[name]
    images, labels = made(settings, pictures(), LABELS)
    plain, _ = made({}, pictures(), LABELS)
    assert images.shape == plain.shape and images.dtype == torch.float32
    assert not torch.equal(images, plain)
    assert torch.equal(labels, LABELS)
    assert torch.equal(images, made(settings, pictures(), LABELS)[0])
    if name != "flip":  # always mirrored here
        assert not torch.equal(images, made(settings, pictures(), LABELS, seed=2)[0])


@pytest.mark.parametrize("name", [name for name in OF_EACH if name != "flip"])
def test_each_picture_of_a_batch_is_changed_in_its_own_way(name: str) -> None:
    same = pictures()[:1].expand(BATCH, -1, -1, -1)
    images, _ = made(OF_EACH[name], same, LABELS)
    assert len({image.numpy().tobytes() for image in images}) > 1


def test_flips_are_mirrored_pictures_half_of_the_time() -> None:
    pixels = pictures()[:1].expand(200, -1, -1, -1)
    images, _ = made({"flip": 0.5}, pixels, torch.zeros(200, dtype=torch.int64))
    plain = Augmentation(AugmentationConfig(), CLASSES, SIZE).plain(pictures()[:1])
    mirrored = (images == plain.flip(-1)).flatten(1).all(1)
    assert torch.equal(~mirrored, (images == plain).flatten(1).all(1))
    assert 70 < mirrored.sum() < 130


def test_torchs_own_generator_is_left_as_it_was() -> None:
    torch.manual_seed(4)
    before = torch.get_rng_state()
    made({"rand_augment": {}, "cutmix": 1.0}, pictures(), LABELS)
    assert torch.equal(torch.get_rng_state(), before)


def test_mixup_mixes_pictures_and_labels_by_one_share() -> None:
    """x = lam x_i + (1 - lam) x_j and y = lam y_i + (1 - lam) y_j (Zhang et al. 2018), j the picture before i."""
    images, targets = made({"mixup": 1.0}, pictures(), LABELS)
    share = targets[1, 1].item()  # of picture 1, of class 1, with picture 0, of class 0
    assert 0 < share < 1
    plain = Augmentation(AugmentationConfig(), CLASSES, SIZE).plain(pictures())
    torch.testing.assert_close(images, share * plain + (1 - share) * plain.roll(1, 0))
    own = torch.nn.functional.one_hot(LABELS, CLASSES).float()
    torch.testing.assert_close(targets, share * own + (1 - share) * own.roll(1, 0))


def test_cutmix_labels_are_the_shares_of_the_area() -> None:
    """A rectangle comes from the picture before; the label's share is what is left of the area (Yun et al. 2019)."""
    constant = (40 * torch.arange(BATCH, dtype=torch.uint8)).view(-1, 1, 1, 1).expand(-1, 3, SIZE, SIZE)
    found = []
    for seed in range(8):
        images, targets = made({"cutmix": 1.0}, constant, LABELS, seed)
        plain = Augmentation(AugmentationConfig(), CLASSES, SIZE).plain(constant)
        kept = (images == plain).float().mean(dim=(1, 2, 3))
        assert ((images == plain) | (images == plain.roll(1, 0))).all()
        own = torch.nn.functional.one_hot(LABELS, CLASSES).float()
        torch.testing.assert_close(targets, kept[:, None] * own + (1 - kept[:, None]) * own.roll(1, 0))
        found.append(kept[0].item())
    assert len(set(found)) > 3


def test_with_both_each_batch_is_mixed_in_one_of_the_two_ways() -> None:
    constant = (40 * torch.arange(BATCH, dtype=torch.uint8)).view(-1, 1, 1, 1).expand(-1, 3, SIZE, SIZE)
    flat = [made({"mixup": 1.0, "cutmix": 1.0}, constant, LABELS, seed)[0][1].std().item() < 1e-6 for seed in range(20)]
    assert 3 < sum(flat) < 17  # MixUp leaves pictures of one colour in one colour, CutMix hardly ever


def test_two_policies_at_once_are_refused() -> None:
    with pytest.raises(ValueError, match="trivial_augment and augmix are on together"):
        AugmentationConfig.model_validate({"trivial_augment": True, "augmix": {}})
