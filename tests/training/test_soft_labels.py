"""Soft labels: the exact shares that a batch has, with weights and mixing, and what records cannot say."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from augment.errors import InputError
from augment.storage.tar import iter_tar, write_tar
from augment.training.augmentations import Augmentation
from augment.training.batches import NumberedBatches
from augment.training.config import AugmentationConfig, TrainingConfig
from augment.training.data import list_sets
from augment.training.order import MixedOrder
from augment.training.recipes import samples_of
from augment.training.soft_labels import soft_labels
from augment.training.train import train
from tests.training.toy import SIZE, toy_config

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")


def with_field(folder: Path, values: list[Any], **changes: Any) -> TrainingConfig:
    """The toy config, the records of whose 18 edits have these values in turn as `soft`."""
    config = toy_config(folder, **changes)
    tar = folder / "edits" / "shards" / "train-000000.tar"
    samples = []
    for number, (key, files) in enumerate(list(iter_tar(tar))):
        record = json.loads(files["json"]) | {"soft": values[number % len(values)]}
        samples.append((key, {**files, "json": json.dumps(record).encode()}))
    write_tar(tar, samples)
    synthetic = config.data.synthetic.model_copy(update={"soft_labels": "soft"})  # type: ignore[union-attr]
    return config.model_copy(update={"data": config.data.model_copy(update={"synthetic": synthetic})})


def test_a_number_is_the_share_of_the_class_and_a_mapping_is_taken_as_it_is(tmp_path: Path) -> None:
    config = with_field(tmp_path, [0.5, {"red": 0.25, "blue": 0.75}, 1])
    labels = soft_labels(list_sets(config.data), "soft")  # classes in turn: red, green, blue
    np.testing.assert_allclose(labels[:3], [[0.5, 0.25, 0.25], [0.25, 0, 0.75], [0, 0, 1]])
    assert labels.shape == (18, 3) and labels.dtype == np.float32
    np.testing.assert_allclose(labels.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (None, r"edit000.*None as its 'soft'"),
        (1.5, r"has 1.5 as its 'soft'"),
        (True, "has True"),
        ("0.5", "has '0.5'"),
        ({"red": 0.5, "cyan": 0.5}, r"class 'cyan'; there are red, green, blue"),
        ({"red": 0.5}, r"whose sum is 1"),
        ({"red": 2, "blue": -1}, r"whose sum is 1"),
    ],
)
def test_what_a_record_cannot_say(tmp_path: Path, value: Any, problem: str) -> None:
    config = with_field(tmp_path, [value])
    with pytest.raises(InputError, match=problem):
        soft_labels(list_sets(config.data), "soft")
    with pytest.raises(InputError, match=problem):
        train(config, tmp_path / "out")


class Grey:
    """Pixels of any place."""

    def take(self, places: list[int]) -> np.ndarray:
        return np.zeros((len(places), SIZE, SIZE, 3), np.uint8)


def test_a_batch_has_the_classes_of_real_pictures_and_the_soft_labels_of_edits_times_their_weights() -> None:
    order = MixedOrder(real=4, synthetic=3, ratio=Fraction(1, 2), batch_size=6, seed=0)
    soft = torch.tensor([[0.5, 0.5, 0], [0, 0.2, 0.8], [1, 0, 0]])
    plain = Augmentation(AugmentationConfig(), 3, SIZE)
    for weights in (None, torch.tensor([1.0, 1, 1, 1, 0.5, 0, 2])):
        targets = torch.tensor([0, 1, 2, 0, 1, 2, 0])
        batches = NumberedBatches(order, Grey(), targets, plain, 0, num_classes=3, soft=soft, weights=weights)  # type: ignore[arg-type]
        rows = torch.cat([torch.eye(3)[targets[:4]], soft]) * (1 if weights is None else weights[:, None])
        for number in range(4):
            torch.testing.assert_close(batches[number].targets, rows[order.batch(number)])


def test_edits_that_are_sure_of_their_class_train_as_classes_do(tmp_path: Path) -> None:
    soft = with_field(tmp_path, [1.0], dtype="float32")
    synthetic = soft.data.synthetic.model_copy(update={"soft_labels": None})  # type: ignore[union-attr]
    hard = soft.model_copy(update={"data": soft.data.model_copy(update={"synthetic": synthetic})})
    unsure = with_field(tmp_path / "other", [0.4], dtype="float32")
    losses = {}
    for name, config in (("soft", soft), ("hard", hard)):
        losses[name] = [row["loss"] for row in train(config, tmp_path / name)["history"]]
    assert losses["soft"] == pytest.approx(losses["hard"], rel=1e-5)
    assert train(unsure, tmp_path / "unsure")["history"][0]["loss"] != pytest.approx(losses["hard"][0], rel=1e-3)


@pytest.mark.parametrize(
    "recipe", [{"name": "two_stage"}, {"name": "weighted"}, {"name": "targeted", "steps": 2, "share": 1.0}]
)
def test_recipes_keep_soft_labels(tmp_path: Path, recipe: dict[str, Any]) -> None:
    config = with_field(tmp_path, [0.7], recipe=recipe)
    soft = samples_of(config, list_sets(config.data)).soft
    assert soft is not None and soft.max(axis=1) == pytest.approx(0.7)
    assert train(config, tmp_path / "out")["steps"] == 10


def test_real_pictures_in_place_of_edits_have_no_soft_labels(tmp_path: Path) -> None:
    settings = with_field(tmp_path, [0.7]).model_dump()
    with pytest.raises(ValidationError, match=r"soft_labels has no meaning"):
        TrainingConfig.model_validate(settings | {"recipe": {"name": "repeated_real"}})
