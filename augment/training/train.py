"""`augment train`: a classifier is trained on real and synthetic pictures, and what it is worth is written down.

A step's samples, augmentation and random numbers depend on the seed and the step's number only. So a run that was
killed and started again takes the same steps as one that was not, and ends with the same figures, bit for bit on one
machine.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.utils.data import DataLoader

from augment.errors import TrainingError
from augment.inputs.fit import Fit
from augment.models.precision import warn_of_emulation
from augment.seeding import seed_for
from augment.training.augmentations import Augmentation
from augment.training.batches import BatchPart, NumberedBatches
from augment.training.boards import Board, open_boards
from augment.training.checkpoint import Checkpoints, Row, TrainingState, best_row, fingerprint_of
from augment.training.config import TrainingConfig
from augment.training.data import Pixels, TrainingSets, list_sets
from augment.training.hints import hints
from augment.training.leaks import check_leaks
from augment.training.look import Looked, look_at
from augment.training.networks import build_network, check_bfloat16_on_cpu
from augment.training.process_group import Ranks, check_gpu, joined_ranks
from augment.training.recipes import samples_of, used_sets
from augment.training.results import read_report, write_results
from augment.training.step import decided_dtype, in_bfloat16, learning_rate_at, logits_of, make_optimizer, take_step

Tell = Callable[[str], None]


def train(config: TrainingConfig, out: Path, tell: Tell = lambda line: None) -> dict[str, Any]:
    """Train a classifier, or go on with one, and return the content of its report.json.

    Args:
        out: folder for `report.json`, `report.html`, `model.safetensors` and, until these are written, checkpoints. If
            the run is finished there already, nothing is done.
        tell: called with a line for people now and then.

    Raises:
        InputError: if pictures cannot be used.
        LeakError: if pictures of val or test, or edits of them, would be trained on.
        ModelError: if the network cannot be made, or there is no such device.
        TrainingError: if the folder holds a run with other settings, or the loss is no number.
    """
    with joined_ranks(config.device, config.batch_size) as ranks:
        return _train(config, out, tell if ranks.rank == 0 else _say_nothing, ranks)


def _train(config: TrainingConfig, out: Path, tell: Tell, ranks: Ranks) -> dict[str, Any]:
    sets = ranks.agree(lambda: list_sets(config.data))
    # Once for all processes, and as what was decided: a run that goes on elsewhere must not change its arithmetic.
    config = config.model_copy(update={"dtype": ranks.first(lambda: decided_dtype(config.dtype, config.device))})
    checkpoints = Checkpoints(out, ranks.agree(lambda: fingerprint_of(config, sets)))
    if finished := ranks.first(lambda: read_report(out)):
        checkpoints.check(finished["fingerprint"], "report.json")
        if ranks.rank == 0:
            checkpoints.clear()  # of a run that was killed between its report and this
        return finished
    if config.recipe.name == "targeted":  # a short run says which edits are used, and one process does it
        ranks.first(functools.partial(check_leaks, sets, config.leaks.near_duplicates))  # before this one trains
        sets = ranks.first(functools.partial(used_sets, config, sets, out))
    run = ranks.agree(functools.partial(_Run, config, sets, out, checkpoints, tell, ranks))
    devices = range(torch.cuda.device_count()) if config.device != "cpu" else ()
    with torch.random.fork_rng(devices), torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
        state = ranks.agree(run.start)
        run.check_start(state)
        trained = sets.counts["real"] + sets.counts["synthetic"]
        tell(f"looks for val's and test's pictures, and edits of them, among the {trained} to train on")
        if config.recipe.name != "targeted":
            ranks.first(lambda: check_leaks(sets, config.leaks.near_duplicates))
        for line in hints(config, sets):
            tell(line)
        run.train(state)
        best = best_row(state.history, config.select_by)
        state.average.load_state_dict(ranks.agree(lambda: checkpoints.best_weights(best["step"])))
        val = run.look(state.average, "val")
        test = run.look(state.average, "test") if sets.test else None
    about = run.about(state, best)
    report = ranks.first(lambda: write_results(out, about, state.average, sets, val, test))
    if ranks.rank == 0:
        checkpoints.clear()
    return report


def _say_nothing(line: str) -> None:
    """Ignore a line: of several processes only the first one tells."""


class _Run:
    """One training run: what stays the same while its state changes."""

    def __init__(
        self, config: TrainingConfig, sets: TrainingSets, out: Path, checkpoints: Checkpoints, tell: Tell, ranks: Ranks
    ) -> None:
        self.config, self.sets, self.out, self.checkpoints, self.tell = config, sets, out, checkpoints, tell
        self.ranks = ranks
        data = config.data
        self.samples = samples_of(config, sets)
        self.fit = Fit(data.fit, data.image_size)
        self.cache = data.cache_mb * 2**20
        self.augmentation = Augmentation(
            config.augmentation, len(sets.class_names), data.image_size, data.mean, data.std
        )
        looked_at = {"val": sets.val, "test": sets.test}
        self.looked_at = {name: (s, Pixels(s, self.fit, self.cache)) for name, s in looked_at.items()}

    def start(self) -> TrainingState:
        """Return the state to go on from: that of the checkpoint, or a new one."""
        config = self.config
        check_gpu(config.device)
        warn_of_emulation(config.device, config.dtype, "dtype")
        torch.manual_seed(seed_for(config.seed, "weights"))
        network = build_network(config.network, len(self.sets.class_names), config.data.image_size)
        if config.device == "cpu" and in_bfloat16(config):
            check_bfloat16_on_cpu(network, config.network.name, config.data.image_size)
        network = network.to(config.device).to(memory_format=torch.channels_last)
        network = self.ranks.prepare(network, config.network.name)
        average = copy.deepcopy(network).requires_grad_(False)
        state = TrainingState(network, average, make_optimizer(network, config.optimizer))
        self.checkpoints.load(state, config.device)
        if state.step:
            self.tell(f"goes on after step {state.step} of {config.steps}")
        return state

    def check_start(self, state: TrainingState) -> None:
        """Raise TrainingError if the processes do not go on from the same checkpoint."""
        steps = self.ranks.gather(state.step)
        if len(set(steps)) > 1:
            raise TrainingError(
                f"{self.out}: the processes find checkpoints of different steps there: {', '.join(map(str, steps))}. "
                "The folder must be on a file system that all of them share"
            )

    def train(self, state: TrainingState) -> None:
        """Take the steps that are left, looking at val and saving every `eval_every` of them."""
        if self.is_done(state):
            return
        config, ranks, forward = self.config, self.ranks, self.ranks.parallel(state.network)
        boards = ranks.agree(functools.partial(self.boards, state.step))
        began, losses = time.monotonic() - state.seconds, list[float]()
        with contextlib.ExitStack() as stack:
            for board in boards:
                stack.callback(board.close)
            for batch in self.batches(state.step):
                losses.append(take_step(state, forward, config, batch, ranks))
                if state.step % config.eval_every == 0 or state.step == config.steps:
                    row = {"step": state.step, "loss": math.fsum(losses) / len(losses)}
                    row["learning_rate"] = learning_rate_at(config.optimizer, *config.place_in_stage(state.step - 1))
                    state.history.append(row | self.figures(state))
                    state.seconds = time.monotonic() - began
                    best = best_row(state.history, config.select_by)
                    for board in boards:  # before the checkpoint: a run that goes on after it logs this row no more
                        board.add(state.history[-1])
                    ranks.first(functools.partial(self.checkpoints.save, state, best["step"]))
                    self.tell(_line(state.history[-1], config.steps, best["step"]))
                    losses.clear()
                    if self.is_done(state):
                        return

    def boards(self, step: int) -> list[Board]:
        """Return the logs to write, on the first process only."""
        if self.ranks.rank > 0:
            return []
        return open_boards(self.config, self.out, step, self.checkpoints.fingerprint, self.tell)

    def is_done(self, state: TrainingState) -> bool:
        """Return whether all steps are taken, or val has not improved for `patience` looks."""
        if state.step >= self.config.steps:
            return True
        if self.config.patience is None or not state.history:
            return False
        best = best_row(state.history, self.config.select_by)
        # A first stage is gone through whatever val says.
        since = max(best["step"], self.config.first_stage)
        return sum(row["step"] > since for row in state.history) >= self.config.patience

    def batches(self, first: int) -> Iterator[BatchPart]:
        """Yield the batches of the steps from `first` on."""
        sources, weights, soft = self.samples.sources, self.samples.weights, self.samples.soft
        pixels, targets = Pixels(sources, self.fit, self.cache), torch.from_numpy(self.sets.targets(sources))
        batches = NumberedBatches(self.samples.order, pixels, targets, self.augmentation, self.config.seed, self.ranks)
        if weights is not None or soft is not None:
            batches = replace(
                batches,
                num_classes=len(self.sets.class_names),
                soft=torch.from_numpy(soft) if soft is not None else None,
                weights=torch.from_numpy(weights) if weights is not None else None,
            )
        numbers, workers = range(first, self.config.steps), self.config.data.num_workers
        yield from DataLoader(batches, batch_size=None, sampler=numbers, num_workers=workers)

    def look(self, network: nn.Module, name: Literal["val", "test"]) -> Looked:
        """Look at val or test with the given weights."""
        sources, pixels = self.looked_at[name]
        logits = logits_of(network.eval(), self.config)
        return look_at(logits, pixels, sources, self.sets, self.augmentation.plain, self.config.data.groups, self.ranks)

    def figures(self, state: TrainingState) -> Row:
        """Return what val says of the average weights."""
        figures = self.look(state.average, "val").figures
        return {f"val_{name}": figures[name] for name in ("accuracy", "loss", "ece", "worst_group")}

    def about(self, state: TrainingState, best: Row) -> dict[str, Any]:
        """Return what the report says of the run itself."""
        seen = state.step * self.config.batch_size
        return {
            "config": self.config.model_dump(mode="json"),
            "fingerprint": self.checkpoints.fingerprint,
            "pictures": self.sets.counts,
            "pictures_by_class": self.sets.counts_of_classes,
            "steps": state.step,
            "best_step": best["step"],
            "samples": seen,
            "synthetic_samples": 0 if self.samples.repeats_real else self.samples.order.synthetic_before(seen),
            "seconds": state.seconds,
            "history": state.history,
        }


def _line(row: Row, steps: int, best_step: int) -> str:
    accuracy, worst = row["val_accuracy"], row["val_worst_group"]
    best = "best so far" if best_step == row["step"] else f"best at step {best_step}"
    return f"step {row['step']}/{steps}  loss {row['loss']:.3f}  val {accuracy:.1%}, worst group {worst:.1%}  ({best})"
