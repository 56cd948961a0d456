"""`augment loop`: train, look where val is wrong, edit what helps there, train again, until val is no better.

Everything is chosen on val. Test is read in the end, by the classifier of the best round; again only if the loop goes
on with more budget and another round is the best then, and the report says so. What a round chooses is a function of
the files of the rounds before it: killed anywhere and started again, the loop ends with the same figures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from augment.distribute.config import MakeWorker
from augment.distribute.ray_train import train_on_ray
from augment.errors import ConfigError, TrainingError
from augment.ledger.ledger import Ledger
from augment.loop.choice import Limits, chosen_rows
from augment.loop.config import LoopConfig
from augment.loop.report import write_loop_report
from augment.loop.rounds import LoopFolder, Row
from augment.loop.stop import best_round, edits_left, stop_reason
from augment.loop.weakness import Judged, Weakness, weakness_of
from augment.prompts import PromptConfig
from augment.prompts.grid import value_meant
from augment.run.config import check_class_names, job_sources
from augment.run.expand import expand, load_worker
from augment.run.job_prompts import making
from augment.run.prompt_file import load_prompts, prompts_name
from augment.run.prompt_table import PromptRow, read_head, read_made, write_table
from augment.run.watch import Display, no_display
from augment.storage.resolve import open_store
from augment.training.config import CLASS, TrainingConfig
from augment.training.data import list_sets
from augment.training.early import early_losses
from augment.training.launcher import launched_size
from augment.training.leaks import check_leaks
from augment.training.measure import measure_test
from augment.training.results import PREDICTIONS, read_predictions
from augment.training.train import train
from augment.types import Source

SHOWN = 8  # weakest groups of a round's report


def run_loop(
    config: LoopConfig,
    out: Path,
    tell: Callable[[str], None] = lambda line: None,
    *,
    display: Display = no_display,
    make_worker: MakeWorker = load_worker,
) -> dict[str, Any]:
    """Go round until val is no better or the budget is spent, and return the content of `report.json`.

    Args:
        out: folder of the rounds, the edits and the report. Rounds that are done there are not repeated.
        tell: called with a line for people now and then.
        display: shows the progress of each expansion.
        make_worker: makes the workers of the expansion.

    Raises:
        ConfigError, InputError, PromptError, ModelError, OutputError, LeakError: as `expand` and `train` do.
        TrainingError: if the folder holds a loop with other settings or pictures, or torchrun has started several
            processes.
    """
    if launched_size() > 1:
        raise TrainingError(
            "augment loop is one process, and torchrun has started several: start it alone, and set "
            "train.run.executor: ray for a training on several GPUs"
        )
    folder = LoopFolder(out)
    job = _job(config, folder)
    sets = list_sets(config.train_on(None, with_test=True).data)
    folder.check(config.settings(job.prompts, {"real": sets.real, "val": sets.val, "test": sets.test}))
    loop = _Loop(config, folder, job, tell, display, make_worker, torch.get_num_threads())
    rows = folder.rows()
    while not rows or not (reason := stop_reason(config, rows, loop.capacity)):
        rows.append(loop.do_round(len(rows), rows))
    best = best_round(rows, config.train.select_by)
    tell(f"stops: {reason}; round {best} is the best on val")
    tests: dict[int, Row] = {}
    if config.train.data.test:
        loop.ask_test(best)
        tests = {row["round"]: read for row in rows if (read := folder.read(row["round"], "test.json")) is not None}
    return write_loop_report(out, config, rows, best, reason, tests)


@dataclass(frozen=True)
class LoopJob:
    """What is edited: the prompts of the job, its images, and its classes by label."""

    prompts: PromptConfig
    sources: list[Source]
    class_names: dict[int, str]


def _job(config: LoopConfig, folder: LoopFolder) -> LoopJob:
    """Return what is edited.

    Raises:
        ConfigError: if the prompts have no templates to steer.
    """
    expansion = config.expand_into(folder.edits, folder.prompts(1))
    prompts = load_prompts(expansion.prompts)
    if not prompts.templates or prompts.column or prompts.llm or prompts.caption or prompts.draw != "weighted":
        raise ConfigError(
            prompts_name(expansion.prompts),
            [
                "expand.prompts: the loop steers the weights of attributes, so it needs templates over attributes, "
                "and no lines, column, llm or caption, and no other draw than weighted"
            ],
        )
    sources, class_names, _ = job_sources(expansion)
    check_class_names(expansion, prompts, class_names)
    return LoopJob(prompts, sources, class_names)


@dataclass(frozen=True)
class _Loop:
    """One loop: what stays the same over its rounds."""

    config: LoopConfig
    folder: LoopFolder
    job: LoopJob
    tell: Callable[[str], None]
    display: Display
    make_worker: MakeWorker
    threads: int  # of torch; an expansion in this process changes it, and with it the last bit of what is trained

    @property
    def capacity(self) -> int:
        """Return how many edits there can be of all images together."""
        return len(self.job.sources) * self.config.expand.variants_per_image

    def do_round(self, number: int, rows: Sequence[Row]) -> Row:
        """Do a round, or what is left of it, and return its report."""
        made: dict[str, Any] = {"planned": 0, "accepted": 0, "worker_seconds": 0.0}
        if number:
            table = self.choose(number, rows)
            made = self.make_edits(number, len(table))
        training = self.config.train_on(self.folder.edits if made["accepted"] else None)
        if not number:
            self.check_test()
        self.tell(f"round {number}: trains with {made['accepted']} edits of {made['planned']} made")
        done = self.trained(training, self.folder.round(number) / "train")
        row = _row(number, made, done, self.weakness(number))
        self.folder.write(number, "report.json", row)
        self.tell(f"round {number}: val {row['accuracy']:.1%}, worst group {row['worst_group']:.1%}")
        return row

    def trained(self, training: TrainingConfig, out: Path) -> dict[str, Any]:
        """Return the report of a training, here or on the workers of Ray Train, as its section `run` says."""
        if training.run.executor == "ray":
            return train_on_ray(train, training, out, self.tell)
        return train(training, out, self.tell)

    def choose(self, number: int, rows: Sequence[Row]) -> list[PromptRow]:
        """Return all edits up to this round, as written into its table of prompts."""
        store = open_store(str(self.folder.prompts(number)))
        if read_head(store) is not None and (there := read_made(store)) is not None:
            return list(there.values())
        before = read_made(open_store(str(self.folder.prompts(number - 1)))) or {} if number > 1 else {}
        limits = Limits(
            edits_left(self.config, rows),
            self.config.expand.variants_per_image,
            self.config.focus,
            self.config.expand.seed,
            number,
        )
        weakness = self.weakness(number - 1)
        # Of the real pictures alone, once: what is hard before anything was made.
        training = self.config.train_on(None)
        losses = early_losses(training, list_sets(training.data), self.config.early_steps, self.folder.round(0))
        new = chosen_rows(self.job.sources, list(before.values()), self.job.prompts, weakness, losses, limits)
        plan = Ledger(self.folder.edits).read_plan()
        about = {"edits": len(new), "by_class": _counts(new), "weakest": weakness.weakest(SHOWN)}
        self.folder.write(number, "choice.json", about | {"units_before": list(plan.unit_ids) if plan else []})
        table = [*before.values(), *new]
        expansion = self.config.expand_into(self.folder.edits, self.folder.prompts(number))
        without = sorted({s.key for s in self.job.sources} - {row.key for row in table})
        settings = making(expansion, self.job.prompts, self.job.class_names)
        write_table(store, table, table, {"settings": settings, "without": without})
        return table

    def make_edits(self, number: int, planned: int) -> dict[str, Any]:
        """Grow the output by the round's edits; return how many there are now, and what they took."""
        self.tell(f"round {number}: expands to {planned} edits")
        expansion = self.config.expand_into(self.folder.edits, self.folder.prompts(number))
        summary = expand(expansion, display=self.display, make_worker=self.make_worker)
        torch.set_num_threads(self.threads)
        choice = self.folder.read(number, "choice.json") or {}
        before = frozenset(choice.get("units_before", ()))
        reports = Ledger(self.folder.edits).committed()
        seconds = [r.seconds for unit_id, r in sorted(reports.items()) if unit_id not in before]
        held = sum(s.get("model", 0.0) + s.get("idle", 0.0) for s in seconds)
        counts = {"planned": summary.manifest["planned"], "accepted": summary.manifest["accepted"]}
        return counts | {"worker_seconds": held}

    def weakness(self, number: int) -> Weakness:
        """Return where the classifier of a round is weak, by what it predicted of val."""
        data = self.config.train_on(None).data
        val, predicted = list_sets(data).val, read_predictions(self.folder.round(number) / "train", "val")
        if [source.key for source in val] != [row["key"] for row in predicted]:
            raise TrainingError(
                f"{self.folder.round(number) / 'train' / PREDICTIONS} is of other pictures than val now has, so it "
                "does not say where the classifier is wrong. Restore val, or choose another --out"
            )
        known = {name for name in data.groups if name != CLASS}
        values = {a: [v.name for v in vs] for a, vs in self.job.prompts.attributes.items() if a in known}
        judged = [
            Judged(source.class_name, _as_values(source, values), row["class_name"] != row["predicted"])
            for source, row in zip(val, predicted, strict=True)
        ]
        names = list(self.job.class_names.values())
        return weakness_of(judged, names, values, self.config.smoothing)

    def check_test(self) -> None:
        """Refuse at once what is both trained on and tested on, which the training, without test, does not see."""
        if self.config.train.data.test:
            sets = list_sets(self.config.train_on(None, with_test=True).data)
            check_leaks(sets, self.config.train.leaks.near_duplicates)

    def ask_test(self, number: int) -> None:
        """Write down what test says of a round's classifier; of each it is asked once."""
        if self.folder.read(number, "test.json") is None:
            training = self.config.train_on(None, with_test=True)
            self.folder.write(number, "test.json", measure_test(training, self.folder.round(number) / "train"))


def _as_values(source: Source, values: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the attributes of a picture as the prompts name their values, as far as they have them."""
    meant = {a: value_meant(names, source.attributes.get(a, "")) for a, names in values.items()}
    return source.attributes | {a: value for a, value in meant.items() if value is not None}


def _row(number: int, made: dict[str, Any], done: dict[str, Any], weakness: Weakness) -> Row:
    val = done["val"]
    names = ("accuracy", "worst_group")
    figures = {f"{name}{end}": val[f"{name}{end}"] for name in names for end in ("", "_low", "_high")}
    return {
        "round": number,
        "edits": made["planned"],
        "accepted": made["accepted"],
        "worker_seconds": made["worker_seconds"],
        **figures,
        "worst_group_name": val["worst_group_name"],
        "loss": val["loss"],
        "train_seconds": done["seconds"],
        "weakest": weakness.weakest(SHOWN),
    }


def _counts(rows: Sequence[PromptRow]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.class_name] = counts.get(row.class_name, 0) + 1
    return dict(sorted(counts.items()))
