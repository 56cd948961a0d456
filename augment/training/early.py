"""Which real pictures a classifier has learned after a few steps, and which not: the early-learning signal."""

from __future__ import annotations

import copy
import csv
import io
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader

from augment.inputs.fit import Fit
from augment.ledger.plan import digest_of
from augment.seeding import seed_for
from augment.storage.tar import sha256_file, write_bytes_atomic
from augment.training.augmentations import Augmentation
from augment.training.batches import NumberedBatches
from augment.training.checkpoint import TrainingState
from augment.training.config import MixRecipe, TrainingConfig
from augment.training.data import Pixels, TrainingSets
from augment.training.look import look_at
from augment.training.networks import build_network, check_bfloat16_on_cpu
from augment.training.order import MixedOrder
from augment.training.process_group import check_gpu
from augment.training.step import in_bfloat16, logits_of, make_optimizer, take_step
from augment.types import Source

# What of a run's settings its first steps on the real pictures depend on.
_SETTINGS = ("network", "augmentation", "optimizer", "steps", "batch_size", "dtype", "seed")
_PICTURES = ("image_size", "fit", "mean", "std")


def early_losses(config: TrainingConfig, sets: TrainingSets, steps: int, out: Path) -> dict[str, float]:
    """Return the cross-entropy of every real picture, by key, after the first steps of a run on the real ones alone.

    The run begins as the whole one without edits would: its first weights, its schedule, its augmentation. The pictures
    are looked at without augmentation, with the averaged weights. Val and test are not touched.

    Args:
        steps: to take, at most as many as the config's.
        out: folder that keeps the answer, a row for each picture, in `early-HASH.csv`; the hash is of all that it
            depends on. If it is there, it is read.
    """
    steps = min(steps, config.steps)
    settings = config.model_dump(mode="json", include={**dict.fromkeys(_SETTINGS, True), "data": set(_PICTURES)})
    weights = sha256_file(config.network.weights) if config.network.weights else ""
    digest = digest_of([settings, weights, steps, [[s.key, s.label, s.size] for s in sets.real]])
    kept = out / f"early-{digest}.csv"
    if not kept.exists():
        losses = _losses_after(config.model_copy(update={"recipe": MixRecipe()}), sets, steps)
        write_bytes_atomic(kept, _as_csv(sets.real, losses).encode())
    with kept.open(newline="") as file:
        return {row["key"]: float(row["loss"]) for row in csv.DictReader(file)}


def learned_late(sources: Sequence[Source], losses: Mapping[str, float], share: float) -> set[str]:
    """Return the keys of the pictures with the highest losses: of each class this share, rounded up.

    Of equal losses the key decides.
    """
    of_class: dict[int, list[Source]] = defaultdict(list)
    for source in sources:
        of_class[source.label].append(source)
    late: set[str] = set()
    for members in of_class.values():
        ordered = sorted(members, key=lambda source: (-losses[source.key], source.key))
        late |= {source.key for source in ordered[: math.ceil(Fraction(str(share)) * len(members))]}
    return late


def _losses_after(config: TrainingConfig, sets: TrainingSets, steps: int) -> np.ndarray:
    """Return the loss of each real picture after a few steps, float64 [N]."""
    data = config.data
    check_gpu(config.device)
    pixels = Pixels(sets.real, Fit(data.fit, data.image_size), data.cache_mb * 2**20)
    targets = sets.targets(sets.real)
    order = MixedOrder(len(sets.real), 0, Fraction(0), config.batch_size, seed_for(config.seed, "order"))
    augmentation = Augmentation(config.augmentation, len(sets.class_names), data.image_size, data.mean, data.std)
    devices = range(torch.cuda.device_count()) if config.device != "cpu" else ()
    with torch.random.fork_rng(devices), torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
        torch.manual_seed(seed_for(config.seed, "weights"))
        network = build_network(config.network, len(sets.class_names), data.image_size)
        if config.device == "cpu" and in_bfloat16(config):
            check_bfloat16_on_cpu(network, config.network.name, data.image_size)
        network = network.to(config.device).to(memory_format=torch.channels_last)
        average = copy.deepcopy(network).requires_grad_(False)
        state = TrainingState(network, average, make_optimizer(network, config.optimizer))
        batches = NumberedBatches(order, pixels, torch.from_numpy(targets), augmentation, config.seed)
        loader = DataLoader(batches, batch_size=None, sampler=range(steps), num_workers=data.num_workers)
        for batch in loader:
            take_step(state, network, config, batch)
        logits = logits_of(average.eval(), config)
        looked = look_at(logits, pixels, sets.real, sets, augmentation.plain, ("class",))
    of_target = looked.probabilities[np.arange(len(targets)), targets]
    return -np.log(np.maximum(of_target, np.finfo(np.float64).tiny))


def _as_csv(sources: Sequence[Source], losses: np.ndarray) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["key", "class_name", "loss"])
    writer.writerows(
        [source.key, source.class_name, repr(float(loss))] for source, loss in zip(sources, losses, strict=True)
    )
    return buffer.getvalue()
