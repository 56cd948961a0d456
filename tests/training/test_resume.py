"""A loader that goes on in the middle of an epoch gives the same remaining batches, bit for bit."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from augment.errors import TrainingError
from augment.training.loader import Batch, MixedLoader, mixed_loader
from tests.training.test_loader import SIZE, sample, write_shards, write_tar
from tests.variants import variants

# A machine with one core is told that two reading processes are too many.
pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*is passed over"),
]


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Real shards, and edits of which one is damaged."""
    write_shards(tmp_path / "real", num_shards=4, per_shard=10)
    edits = [(f"e{n}", sample(500 + n, n % 3)) for n in range(9)]
    write_tar(tmp_path / "edits.tar", [*edits, ("broken", {"png": b"\x89PNG", "cls": b"1"})])
    return tmp_path


def make(shards: Path, **changes: Any) -> MixedLoader:
    settings = {"batch_size": 6, "epoch_samples": 120, "image_size": SIZE, "rank": 1, "world_size": 2, "seed": 5}
    return mixed_loader(shards / "real", shards / "edits.tar", **(settings | changes))


def equal(found: list[Batch], expected: list[Batch]) -> bool:
    return len(found) == len(expected) and all(
        torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(found, expected, strict=True)
    )


@pytest.mark.parametrize(
    ("num_workers", "batch_size", "balanced"),
    variants(
        [(0, 6, False), (0, 6, True), (2, 6, False), (3, 2, True)],
        kept=[(0, 6, False), (0, 6, True), (2, 6, False)],
    ),
)
def test_the_remaining_batches_are_the_same(shards: Path, num_workers: int, batch_size: int, balanced: bool) -> None:
    arguments = {"num_workers": num_workers, "batch_size": batch_size, "class_balanced": balanced}
    loader = make(shards, **arguments)
    list(loader)
    states, batches = [], []
    for batch in loader:  # the second epoch
        batches.append(batch)
        states.append(json.loads(json.dumps(loader.state_dict())))
    third = list(loader)
    for given in (1, 7):
        resumed = make(shards, **arguments)
        resumed.load_state_dict(states[given - 1])
        assert equal(list(resumed), batches[given:])
        assert equal(list(resumed), third)
    at_end = make(shards, **arguments)
    at_end.load_state_dict(states[-1])
    assert equal(list(at_end), third)


def test_a_resumed_loader_can_be_saved_and_resumed_again(shards: Path) -> None:
    whole = list(make(shards))
    loader = make(shards)
    found: list[Batch] = []
    for stop in (3, 4, 100):
        for number, batch in enumerate(loader):
            found.append(batch)
            if number == stop:
                break
        file = io.BytesIO()
        torch.save(loader.state_dict(), file)
        file.seek(0)
        loader = make(shards)
        loader.load_state_dict(torch.load(file, weights_only=True))
    assert equal(found, whole)


def test_what_was_given_is_not_decoded_again(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = make(shards)
    batches = iter(loader)
    for _ in range(10):
        next(batches)
    resumed = make(shards)
    resumed.load_state_dict(loader.state_dict())
    decoded = []
    from augment.training import mixture

    real_decode = mixture.decode_image
    monkeypatch.setattr(mixture, "decode_image", lambda *args: decoded.append(1) or real_decode(*args))
    next(iter(resumed))
    assert 6 <= len(decoded) <= 6 + 2


def test_the_state_of_another_rank_does_where_no_picture_is_damaged(tmp_path: Path) -> None:
    for kind in ("real", "edits.tar"):
        write_shards(tmp_path / kind, num_shards=2, per_shard=20)
    whole = list(make(tmp_path, rank=0))
    other = make(tmp_path)
    for _, _ in zip(range(5), other, strict=False):
        pass
    loader = make(tmp_path, rank=0)
    loader.load_state_dict(other.state_dict())
    assert equal(list(loader), whole[5:])


def test_a_state_of_other_settings_is_refused_by_name(shards: Path) -> None:
    state = make(shards).state_dict()
    with pytest.raises(TrainingError, match=r"saved with seed 5, not 6; with workers 1, not 2\. Only the same"):
        make(shards, seed=6, num_workers=2).load_state_dict(state)


def test_shards_may_lie_elsewhere_and_not_be_others(shards: Path) -> None:
    state = make(shards).state_dict()
    moved = shards.parent / "moved"
    shards.rename(moved)
    make(moved).load_state_dict(state)
    (moved / "real" / "000.tar").rename(moved / "real" / "004.tar")
    with pytest.raises(TrainingError, match="saved with real "):
        make(moved).load_state_dict(state)


def test_an_epoch_begins_with_its_first_batch_and_a_trainer_may_say_which_it_is(shards: Path) -> None:
    loader = make(shards)
    epochs = [list(loader) for _ in range(3)]
    loader = make(shards)
    iter(loader)  # never used
    assert loader.next_epoch == 0 and equal(list(loader), epochs[0])
    loader.sampler.set_epoch(2)
    assert equal(list(loader), epochs[2])
    middle = make(shards)
    middle.set_epoch(1)
    state = next((middle.state_dict() for number, _ in enumerate(middle) if number == 1), {})
    resumed = make(shards)
    resumed.load_state_dict(state)
    resumed.sampler.set_epoch(1)  # the very epoch in the middle of which it stands
    assert equal(list(resumed), epochs[1][2:])
    resumed.load_state_dict(state)
    resumed.sampler.set_epoch(2)
    assert equal(list(resumed), epochs[2])


def test_the_state_of_a_loader_with_another_order_is_refused(shards: Path) -> None:
    state = make(shards).state_dict()
    del state["settings"]["order"]  # as before there was one
    with pytest.raises(TrainingError, match="order None, not 2"):
        make(shards).load_state_dict(state)
