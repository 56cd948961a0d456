"""What is said of a run before it begins: warm-up, classes without edits, the normalization of pretrained weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.transforms.v2.functional import normalize

from augment.storage.tar import iter_tar, write_tar
from augment.training.augmentations import Augmentation
from augment.training.config import AugmentationConfig, DataConfig, TrainingConfig
from augment.training.data import list_sets
from augment.training.hints import hints
from augment.training.networks import published_normalization
from augment.training.train import train
from tests.training.toy import toy_config, write_toy

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def hints_of(config: TrainingConfig) -> list[str]:
    return hints(config, list_sets(config.data))


@pytest.mark.parametrize(
    ("warmup", "recipe", "said"),
    [
        (9, {"name": "mix"}, ""),
        (10, {"name": "mix"}, "all of this run: its learning rate only rises"),
        (4, {"name": "two_stage"}, ""),
        (5, {"name": "two_stage"}, "and one of the two stages has 5: its learning rate only rises"),
        (3, {"name": "two_stage", "first": 0.7}, "and one of the two stages has 3: its learning rate only rises"),
    ],
)
def test_a_warmup_that_is_all_of_a_stage_is_told(
    tmp_path: Path, warmup: int, recipe: dict[str, Any], said: str
) -> None:
    found = hints_of(toy_config(tmp_path, recipe=recipe, optimizer={"warmup": warmup}))
    assert found == ([f"optimizer.warmup is {warmup} steps, {said}"] if said else [])


@pytest.mark.parametrize(
    ("ratio", "then"),
    [(0.25, "they come as real pictures alone, and less often than the other classes"), (1, "nothing of them is")],
)
def test_classes_without_edits_are_told_and_counted(tmp_path: Path, ratio: float, then: str) -> None:
    content = write_toy(tmp_path)
    shard = tmp_path / "edits/shards/train-000000.tar"
    write_tar(shard, [sample for sample in iter_tar(shard) if sample[1]["cls"] != b"2"])
    content["data"]["synthetic"]["ratio"] = ratio
    told: list[str] = []
    report = train(TrainingConfig.model_validate(content | {"steps": 4}), tmp_path / "out", told.append)
    (line,) = [line for line in told if "classes" in line]
    assert line.startswith(f"1 of the 3 classes have no edits: {then}") and line.endswith("(blue)")
    real = 8 if ratio < 1 else 0
    counts = {name: {"real": real, "synthetic": 6} for name in ("red", "green")}
    assert report["pictures_by_class"] == counts | {"blue": {"real": real, "synthetic": 0}}
    row = f'<td>blue</td><td class="n">{real}</td><td class="n">0</td>'
    assert row in (tmp_path / "out/report.html").read_text()


def test_pretrained_weights_of_another_normalization_are_told(tmp_path: Path) -> None:
    content = write_toy(tmp_path)
    for name in ("resnet18", "resnet14t"):  # of torchvision, of timm
        network = {"name": name, "weights": "weights.pth"}
        (line,) = hints_of(TrainingConfig.model_validate(content | {"network": network}))
        assert f"of {name} were trained with data.mean [0.485, 0.456, 0.406] and data.std [0.229, 0.224, 0.225]" in line
        assert "this run has 0.5 and 0.5" in line
        same = content | {"network": network, "data": content["data"] | IMAGENET}
        assert hints_of(TrainingConfig.model_validate(same)) == []
        assert hints_of(TrainingConfig.model_validate(content | {"network": {"name": name}})) == []
    network = {"name": "small_resnet", "weights": "weights.pth"}
    assert hints_of(TrainingConfig.model_validate(content | {"network": network})) == []
    assert published_normalization("vit_base_patch16_224") == ((0.5,) * 3, (0.5,) * 3)


def test_mean_and_deviation_may_be_those_of_each_colour(tmp_path: Path) -> None:
    content = write_toy(tmp_path)
    data = DataConfig.model_validate(content["data"] | IMAGENET)
    assert DataConfig.model_validate(data.model_dump(mode="json")) == data
    pixels = torch.arange(96, dtype=torch.uint8).reshape(2, 3, 4, 4)
    plain = Augmentation(AugmentationConfig(), 2, 4, data.mean, data.std).plain(pixels)
    assert torch.allclose(plain, normalize(pixels.float() / 255, **IMAGENET), atol=1e-6)
    one = Augmentation(AugmentationConfig(), 2, 4, 0.25, 0.5).plain(pixels)
    assert torch.equal(one, (pixels.float() / 255 - 0.25) / 0.5)
    config = TrainingConfig.model_validate(content | {"data": content["data"] | IMAGENET, "steps": 4})
    report = train(config, tmp_path / "out")
    assert report["fingerprint"]["data.mean"] == IMAGENET["mean"]
    assert train(config, tmp_path / "out") == report  # as it was read again
    with pytest.raises(ValueError, match="less than or equal to 1"):
        DataConfig.model_validate(content["data"] | {"mean": [1, 1, 2]})


class Kill(Exception):  # noqa: N818 - it stands for a kill
    """The end of a process, in a test."""


def test_curves_have_every_look_of_a_run_that_was_killed_between_log_and_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = toy_config(tmp_path)

    def kill(*arguments: Any) -> None:
        raise Kill

    for place in ("augment.training.train.Checkpoints.save", "augment.training.boards.TensorBoard.add"):
        with monkeypatch.context() as patch:
            patch.setattr(place, kill)
            with pytest.raises(Kill):
                train(config, tmp_path / "out")
    report = train(config, tmp_path / "out")
    assert logged(tmp_path / "out") == [row["step"] for row in report["history"]] == [4, 8, 10]


def logged(out: Path) -> list[int]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    return [event.step for event in events.Scalars("val_accuracy")]
