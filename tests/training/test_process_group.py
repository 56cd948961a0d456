"""What each of several processes does, without starting them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn

from augment.errors import InputError, ModelError, TrainingError
from augment.training.augmentations import Augmentation
from augment.training.batch_norm import GlooBatchNorm, share_batch_statistics
from augment.training.batches import NumberedBatches
from augment.training.checkpoint import TrainingState
from augment.training.config import AugmentationConfig, NetworkConfig
from augment.training.networks import build_network
from augment.training.order import MixedOrder
from augment.training.process_group import Ranks, joined_ranks
from augment.training.step import make_optimizer, take_step
from tests.training.toy import toy_config

SIZE, CLASSES = 16, 3


class NoisyPixels:
    """Pictures of noise; some cannot be read."""

    def __init__(self, damaged: int = -1) -> None:
        self.damaged = damaged

    def take(self, places: list[int]) -> np.ndarray:
        if self.damaged in places:
            raise InputError(f"picture {self.damaged} is damaged")
        return np.stack([np.random.default_rng(p).integers(0, 256, (SIZE, SIZE, 3), np.uint8) for p in places])


def batches(augmentation: AugmentationConfig, ranks: Ranks, damaged: int = -1) -> NumberedBatches:
    order = MixedOrder(9, 5, Fraction(1, 4), 7, seed=3)
    made = Augmentation(augmentation, CLASSES, SIZE)
    return NumberedBatches(order, NoisyPixels(damaged), torch.arange(14) % CLASSES, made, 5, ranks)  # type: ignore[arg-type]


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    """A group of this process alone."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("size", [2, 3, 7])
@pytest.mark.parametrize(
    "settings",
    [{}, {"crop": 0.5, "flip": 0.5, "trivial_augment": True}, {"random_erasing": 0.5, "cutmix": 1.0, "mixup": 0.3}],
    ids=["plain", "of each", "mixed"],
)
def test_the_parts_of_a_batch_are_the_whole_batch(size: int, settings: dict[str, float]) -> None:
    augmentation = AugmentationConfig.model_validate(settings)
    for number in range(4):
        whole = batches(augmentation, Ranks())[number]
        parts = [batches(augmentation, Ranks(rank, size))[number] for rank in range(size)]
        assert torch.equal(torch.cat([part.images for part in parts]), whole.images)
        assert torch.equal(torch.cat([part.targets for part in parts]), whole.targets)


def test_parts_differ_by_one_sample_at_most() -> None:
    assert [len(Ranks(rank, 4).part(10)) for rank in range(4)] == [2, 3, 2, 3]
    assert [i for rank in range(4) for i in Ranks(rank, 4).part(10)] == list(range(10))


def test_a_part_that_cannot_be_read_is_zeros_with_the_reason() -> None:
    first = MixedOrder(9, 5, Fraction(1, 4), 7, seed=3).batch(0)[0]
    bad, good = (batches(AugmentationConfig(), Ranks(rank, 2), first)[0] for rank in range(2))
    assert str(bad.error) == f"picture {first} is damaged" and not bad.images.any()
    assert bad.images.shape == (3, 3, SIZE, SIZE) and bad.targets.shape == (3,)
    assert good.error is None and good.images.any()


@pytest.mark.usefixtures("group")
def test_batch_norms_over_a_group_compute_what_torchs_do() -> None:
    torch.manual_seed(0)
    network = build_network(NetworkConfig(name="resnet18"), CLASSES, 32).double()
    shared = share_batch_statistics(
        build_network(NetworkConfig(name="resnet18"), CLASSES, 32).double(), "resnet18"
    ).double()
    shared.load_state_dict(network.state_dict())
    assert sum(isinstance(m, GlooBatchNorm) for m in shared.modules()) == 20
    images = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    found, expected = shared(images), network(images)
    torch.testing.assert_close(found, expected)
    found.square().sum().backward()
    expected.square().sum().backward()
    assert shared.conv1.weight.grad.norm() > 0.1
    torch.testing.assert_close(shared.conv1.weight.grad, network.conv1.weight.grad)
    torch.testing.assert_close(shared.state_dict(), network.state_dict())
    torch.testing.assert_close(shared.eval()(images), network.eval()(images))


def test_batch_norms_of_another_library_are_refused_on_a_cpu() -> None:
    class NormAndActivation(nn.BatchNorm2d):
        """As timm's are."""

    with pytest.raises(ModelError, match=r"network.name: other has batch norms of its own kind \(NormAndActivation\)"):
        share_batch_statistics(nn.Sequential(nn.Conv2d(3, 4, 1), NormAndActivation(4)), "other")


def test_more_processes_than_samples_and_a_gpu_by_its_number_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORLD_SIZE": "8", "RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TrainingError, match=r"batch_size is 7, but 8 processes share a batch"), joined_ranks("cpu", 7):
        pass
    with pytest.raises(ModelError, match=r"cuda:1: 8 processes cannot share one GPU"), joined_ranks("cuda:1", 8):
        pass


def test_the_mean_of_the_gradients_of_unequal_parts_is_that_of_the_whole_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AdamW forgives a wrong factor of all gradients, so they are compared themselves."""
    config = toy_config(tmp_path, dtype="float32", batch_size=7, optimizer={"clip_norm": None})
    monkeypatch.setattr(Ranks, "sums", lambda self, mine: mine)
    mixed = AugmentationConfig(cutmix=1.0)

    def gradient(ranks: Ranks) -> torch.Tensor:
        torch.manual_seed(0)
        network = build_network(NetworkConfig(), CLASSES, SIZE)
        state = TrainingState(network, copy.deepcopy(network), make_optimizer(network, config.optimizer))
        take_step(state, network, config, batches(mixed, ranks)[0], ranks)
        return network.stem.weight.grad

    parts = torch.stack([gradient(Ranks(rank, 2)) for rank in range(2)])
    torch.testing.assert_close(parts.mean(dim=0), gradient(Ranks()), rtol=1e-4, atol=1e-6)
