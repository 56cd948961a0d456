"""What a person may want to know of a training run before it begins, although it is no error."""

from __future__ import annotations

from augment.training.config import Deviation, Mean, TrainingConfig
from augment.training.data import TrainingSets
from augment.training.networks import published_normalization

_SHOWN = 10  # classes


def hints(config: TrainingConfig, sets: TrainingSets) -> list[str]:
    """Return a line for each thing about a run that is probably not meant so.

    Args:
        config: of the run.
        sets: what it trains on.
    """
    return [*_of_warmup(config), *_of_classes(config, sets), *_of_normalization(config)]


def _of_warmup(config: TrainingConfig) -> list[str]:
    steps, warmup = config.steps, config.optimizer.warmup
    if not config.first_stage:
        shortest, whole = steps, "all of this run"
    else:
        shortest = min(config.first_stage, steps - config.first_stage)
        whole = f"and one of the two stages has {shortest}"
    return [f"optimizer.warmup is {warmup} steps, {whole}: its learning rate only rises"] if shortest <= warmup else []


def _of_classes(config: TrainingConfig, sets: TrainingSets) -> list[str]:
    if not sets.synthetic:
        return []
    counts = sets.counts_of_classes
    if not (without := [name for name, count in counts.items() if not count["synthetic"]]):
        return []
    names = ", ".join(without[:_SHOWN]) + (", ..." if len(without) > _SHOWN else "")
    then = (
        "they come as real pictures alone, and less often than the other classes"
        if sets.real
        else "nothing of them is trained on"
    )
    return [f"{len(without)} of the {len(counts)} classes have no edits: {then} ({names})"]


def _of_normalization(config: TrainingConfig) -> list[str]:
    if config.network.weights is None or (published := published_normalization(config.network.name)) is None:
        return []
    data = config.data
    if (_of_each(data.mean), _of_each(data.std)) == published:
        return []
    mean, std = (list(values) for values in published)
    return [
        f"network.weights: the published weights of {config.network.name} were trained with data.mean {mean} and "
        f"data.std {std}, and this run has {_shown(data.mean)} and {_shown(data.std)}. If the file has such weights, "
        "set these; if it is of an earlier run, set what that one had"
    ]


def _of_each(value: Mean | Deviation) -> tuple[float, ...]:
    return (value,) * 3 if isinstance(value, float) else value


def _shown(value: Mean | Deviation) -> float | list[float]:
    return value if isinstance(value, float) else list(value)
