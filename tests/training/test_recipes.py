"""What the recipes train on: which samples in which order, with which weights; and that they can go on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from augment.errors import InputError
from augment.storage.tar import write_tar
from augment.training import step as step_module
from augment.training.config import TrainingConfig
from augment.training.data import TrainingSets, list_sets
from augment.training.early import early_losses, learned_late
from augment.training.order import StagedOrder
from augment.training.recipes import balanced_groups, loss_weights, samples_of, used_sets
from augment.training.step import learning_rate_at
from augment.training.train import train
from augment.types import Source
from tests.training.toy import key_of_edited, picture, toy_config
from tests.training.toy import samples as training_samples
from tests.variants import variants

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")


def configured(folder: Path, recipe: dict[str, Any], **changes: Any) -> tuple[TrainingConfig, TrainingSets]:
    config = toy_config(folder, recipe=recipe, **changes)
    return config, list_sets(config.data)


def source(key: str, label: int, **attributes: str) -> Source:
    return Source(key, "", 1, label, f"class {label}", attributes=attributes)


# ---- two stages -----------------------------------------------------------------------------------------------------
def test_the_first_stage_is_balanced_over_the_groups_and_the_second_is_real() -> None:
    order = StagedOrder(real=10, groups=[[0], [1, 2], [3, 4, 5, 6, 7, 8]], border=6, batch_size=6, seed=0)
    firsts = Counter(place for number in range(6) for place in order.batch(number))
    # 36 samples: 12 of each group, in each group all alike
    assert firsts == {10: 12, 11: 6, 12: 6, **dict.fromkeys(range(13, 19), 2)}
    seconds = Counter(place for number in range(6, 16) for place in order.batch(number))
    assert seconds == dict.fromkeys(range(10), 6)
    assert [order.synthetic_before(n) for n in (0, 5, 36, 37, 90)] == [0, 5, 36, 36, 36]


def test_edits_are_grouped_by_class_and_by_what_their_prompts_say() -> None:
    edits = [source(str(n), n % 2, target_attributes=f'{{"sky": "{"ab"[n // 3]}"}}') for n in range(6)]
    assert balanced_groups(edits, ("class", "sky")) == [[0, 2], [4], [1], [3, 5]]
    assert balanced_groups(edits, ("class",)) == [[0, 2, 4], [1, 3, 5]]
    with pytest.raises(InputError, match=r"does not say its 'sea'"):
        balanced_groups(edits, ("sea",))


def test_each_stage_has_a_cosine_of_its_own(tmp_path: Path) -> None:
    config, _ = configured(tmp_path, {"name": "two_stage", "first": 0.3})
    rates = [learning_rate_at(config.optimizer, *config.place_in_stage(step)) for step in range(10)]
    assert rates[:3] == [learning_rate_at(config.optimizer, step, 3) for step in range(3)]
    assert rates[3:] == [learning_rate_at(config.optimizer, step, 7) for step in range(7)]


class Stopped(Exception):  # noqa: N818 - it stands for a kill
    """The end of a process, in a test."""


@pytest.mark.parametrize("at", variants((3, 5, 8), kept=[5]))  # in the first stage, at the border, in the second stage
def test_two_stages_stopped_anywhere_end_as_if_they_were_not(
    at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, _ = configured(tmp_path, {"name": "two_stage", "balance": ["class", "sky"]}, eval_every=1)
    whole = train(config, tmp_path / "whole")
    calls = iter(range(100))

    def stopping(settings: Any, step: int, steps: int) -> float:
        if next(calls) == 2 * at:  # the rate is asked for by the step and by the row of its look
            raise Stopped
        return learning_rate_at(settings, step, steps)

    with monkeypatch.context() as patch:
        patch.setattr(step_module, "learning_rate_at", stopping)
        patch.setattr("augment.training.train.learning_rate_at", stopping)
        with pytest.raises(Stopped):
            train(config, tmp_path / "parts")
    parts = train(config, tmp_path / "parts")
    for name in ("history", "val", "test", "best_step", "synthetic_samples"):
        assert parts[name] == whole[name]
    assert whole["synthetic_samples"] == 5 * 8


def test_patience_counts_in_the_second_stage_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, _ = configured(tmp_path, {"name": "two_stage"}, eval_every=1, patience=2)
    monkeypatch.setattr("augment.training.train._Run.figures", lambda run, state: FLAT)
    assert train(config, tmp_path / "out")["steps"] == 5 + 2


FLAT = {f"val_{name}": 0.5 for name in ("accuracy", "loss", "ece", "worst_group")}


# ---- what is not learned early --------------------------------------------------------------------------------------
def test_in_each_class_the_highest_losses_are_learned_late() -> None:
    sources = [source(f"{label}{n}", label) for label in (0, 1) for n in range(5)]
    losses = {s.key: float((int(s.key) * 7) % 5) for s in sources}  # 0, 2, 4, 1, 3 within a class
    assert learned_late(sources, losses, 0.4) == {"02", "04", "12", "14"}
    assert learned_late(sources, losses, 0.5) == {"02", "04", "01", "12", "14", "11"}  # rounded up
    assert learned_late(sources, dict.fromkeys(losses, 1.0), 0.2) == {"00", "10"}
    assert learned_late(sources, losses, 1.0) == set(losses)


def test_only_edits_of_what_is_learned_late_are_used(tmp_path: Path) -> None:
    config, sets = configured(tmp_path, {"name": "targeted", "steps": 3, "share": 0.25})
    used = used_sets(config, sets, tmp_path / "out")
    losses = early_losses(config, sets, 3, tmp_path / "out")
    late = learned_late(sets.real, losses, 0.25)
    assert len(losses) == 24 and len(late) == 6
    assert [edit.key for edit in used.synthetic] == [
        edit.key for number, edit in enumerate(sets.synthetic) if key_of_edited(number) in late
    ]
    assert (used.real, used.val) == (sets.real, sets.val)
    assert early_losses(config, sets, 2, tmp_path / "out") != losses  # another file
    assert len(list((tmp_path / "out").glob("early-*.csv"))) == 2
    again = early_losses(config, sets, 3, tmp_path / "other")
    assert again == losses  # whatever else was trained in this process


def test_a_targeted_run_counts_the_edits_that_it_uses(tmp_path: Path) -> None:
    config, sets = configured(tmp_path, {"name": "targeted", "steps": 3, "share": 0.5})
    report = train(config, tmp_path / "out")
    assert 0 < report["pictures"]["synthetic"] < len(sets.synthetic)
    assert train(config, tmp_path / "out") == report


# ---- weights --------------------------------------------------------------------------------------------------------
def test_weights_are_scores_over_their_mean(tmp_path: Path) -> None:
    config, sets = configured(tmp_path, {"name": "weighted"})
    scores = np.arange(18) / 10
    weights = loss_weights(sets, config.recipe)  # type: ignore[arg-type]
    assert weights[:24].tolist() == [1.0] * 24
    np.testing.assert_allclose(weights[24:], scores / scores.mean(), rtol=1e-6)
    squared, _ = configured(tmp_path, {"name": "weighted", "power": 2})
    np.testing.assert_allclose(
        loss_weights(sets, squared.recipe)[24:],  # type: ignore[arg-type]
        (scores / scores.mean()) ** 2,
        rtol=1e-6,
    )
    missing, _ = configured(tmp_path, {"name": "weighted", "score": "beauty"})
    with pytest.raises(InputError, match=r"edit000.*None as its 'beauty'"):
        loss_weights(sets, missing.recipe)  # type: ignore[arg-type]


def test_a_weighted_loss_is_the_sum_of_weight_times_loss() -> None:
    torch.manual_seed(0)
    logits, labels, weights = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2]), torch.rand(6) * 2
    weights[2] = 0.0
    found = step_module._loss(logits, F.one_hot(labels, 3) * weights[:, None], 0.1, weighted=True)
    each = F.cross_entropy(logits, labels, label_smoothing=0.1, reduction="none")
    torch.testing.assert_close(found, (weights * each).sum())


def test_weights_of_one_train_as_mixing_does(tmp_path: Path) -> None:
    weighted, _ = configured(tmp_path, {"name": "weighted", "power": 0.0}, dtype="float32")
    mixed = weighted.model_copy(update={"recipe": toy_config(tmp_path).recipe})
    histories = [train(config, tmp_path / name)["history"] for name, config in (("w", weighted), ("m", mixed))]
    for a, b in zip(*histories, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)


# ---- repeated real --------------------------------------------------------------------------------------------------
def test_each_edit_is_replaced_by_what_it_was_made_of(tmp_path: Path) -> None:
    config, sets = configured(tmp_path, {"name": "repeated_real"})
    samples = samples_of(config, sets)
    assert [s.key for s in samples.sources[24:]] == [key_of_edited(number) for number in range(18)]
    assert {s.key for s in samples.sources} == {s.key for s in sets.real}
    mixed = samples_of(config.model_copy(update={"recipe": toy_config(tmp_path).recipe}), sets)
    assert samples.order == mixed.order
    assert train(config, tmp_path / "out")["synthetic_samples"] == 0


def test_edits_of_other_pictures_are_refused(tmp_path: Path) -> None:
    config, sets = configured(tmp_path, {"name": "repeated_real"})
    fewer = TrainingSets(sets.class_names, sets.labels, sets.real[1:], sets.synthetic, sets.val, sets.test)
    with pytest.raises(InputError, match=r"edit000.*was made of 'train_0_00', which is not in data.real"):
        samples_of(config, fewer)
    exported_again = [(key, files | {"png": picture(0, 99, key)}) for key, files in training_samples("train", 8)]
    write_tar(tmp_path / "train.tar", exported_again)
    with pytest.raises(InputError, match=r"edit000.*was made of another file than the 'train_0_00' of data.real"):
        samples_of(config, list_sets(config.data))


@pytest.mark.parametrize("name", ["two_stage", "targeted", "weighted", "repeated_real"])
def test_a_recipe_needs_edits(name: str, tmp_path: Path) -> None:
    config = toy_config(tmp_path)
    for synthetic in (None, {"path": "edits", "ratio": 1.0}):
        data = config.data.model_dump(exclude={"synthetic"}) | {"synthetic": synthetic}
        with pytest.raises(ValidationError, match=rf"recipe: '{name}' needs"):
            TrainingConfig.model_validate({"data": data, "steps": 10, "recipe": {"name": name}})
