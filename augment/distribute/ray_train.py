"""Training on the workers of Ray Train: they make up a torch process group, as torchrun's processes do."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.util.queue import Empty, Queue

from augment.distribute.cluster import ray_session, usable_workers
from augment.distribute.config import RunConfig
from augment.distribute.signals import interruptible
from augment.errors import AugmentError, WorkerError
from augment.training.config import TrainingConfig
from augment.training.launcher import BACKENDS, WAIT, launched_size

Tell = Callable[[str], None]
Train = Callable[[TrainingConfig, Path, Tell], dict[str, Any]]
_POLL_SECONDS = 0.5
_FOLDER = "ray_train"  # Ray Train's own notes, in the run's folder while it trains


def train_on_ray(train: Train, config: TrainingConfig, out: Path, tell: Tell) -> dict[str, Any]:
    """Return what a training function returns that all workers of a Ray Train call with the same arguments.

    A worker that dies ends the others; then all are started again, and go on from the checkpoint in `out`.

    Args:
        train: called on each worker, in the driver's working directory, within a process group.
        config: its section `run` says where.
        out: the run's folder, which all workers must reach by this path.
        tell: is called with the lines that the first worker tells.

    Raises:
        AugmentError, OSError: those of the function.
        WorkerError: if Ray Train is not installed, Ray cannot be joined, or workers have died too often.
        Interrupted: on SIGTERM or SIGINT.
    """
    if launched_size() > 1:
        raise WorkerError("run.executor is ray, but torchrun has started this process; take one of the two")
    ray_train = _ray_train()
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")  # paths of the config are relative to the working directory
    run = RunConfig(
        num_workers=config.run.num_workers,
        address=config.run.address,
        threads_per_worker=config.run.threads_per_worker,
    )
    folder = out.absolute()
    with ray_session(run), interruptible(), _notes(folder):
        workers = usable_workers(run, config.device, ray.cluster_resources(), "device")
        if run.num_workers == "all":
            workers = min(workers, config.batch_size)
        lines = Queue(actor_options={"num_cpus": 0})
        try:
            failures: list[BaseException] = []
            trainer = _trainer(ray_train, _loop(train, config, out, lines), config, folder, workers)
            for item in _sent(trainer, lines, failures):
                if isinstance(item, str):
                    tell(item)
                elif item.error is not None:
                    raise item.error
                else:
                    return dict(item.value)
            raise _explained(ray_train, failures, config)
        finally:
            lines.shutdown(force=True)


def _ray_train() -> Any:
    try:
        importlib.import_module("ray.train.torch")
        return importlib.import_module("ray.train")
    except ImportError as error:
        raise WorkerError(
            f"run.executor: ray needs Ray Train, which is not installed whole ({error}): "
            "pip install 'rnri-augment[ray-train]'"
        ) from error


def _loop(train: Train, config: TrainingConfig, out: Path, lines: Queue) -> Callable[[], None]:
    """Return what each worker does. The first one sends its lines, and in the end what came out."""
    folder = os.getcwd()

    def loop() -> None:
        os.chdir(folder)
        try:
            outcome = _Outcome(value=train(config, out, lines.put))
        except AugmentError as error:  # all workers have raised it: no other attempt would help
            outcome = _Outcome(error=error)
        if ray.train.get_context().get_world_rank() == 0:
            lines.put(outcome)

    return loop


@dataclass(frozen=True)
class _Outcome:
    """What the function has returned, or an error that the user can solve."""

    value: dict[str, Any] = field(default_factory=dict)
    error: AugmentError | None = None


def _trainer(ray_train: Any, loop: Callable[[], None], config: TrainingConfig, folder: Path, workers: int) -> Any:
    gpu = config.device != "cpu"
    threads = config.run.threads_per_worker
    return ray_train.torch.TorchTrainer(
        loop,
        torch_config=ray_train.torch.TorchConfig(backend=BACKENDS[config.device], timeout_s=int(WAIT.total_seconds())),
        scaling_config=ray_train.ScalingConfig(
            num_workers=workers,
            use_gpu=gpu,
            resources_per_worker={"GPU": 1, "CPU": 0} if gpu else {"CPU": threads},
        ),
        run_config=ray_train.RunConfig(
            name=_FOLDER,
            storage_path=str(folder),
            failure_config=ray_train.FailureConfig(max_failures=config.run.max_failures),
            logging_config=ray_train.LoggingConfig(log_level="ERROR"),
        ),
    )


def _sent(trainer: Any, lines: Queue, failures: list[BaseException]) -> Iterator[str | _Outcome]:
    """Train, and yield what the first worker sends, its outcome last; what Ray Train raises is put into `failures`."""

    def fit() -> None:
        try:
            trainer.fit()
        except BaseException as error:
            failures.append(error)

    # Not in the main thread: that one hears signals.
    thread = threading.Thread(target=fit, name="augment-ray-train", daemon=True)
    thread.start()
    ended = False
    while not ended:
        ended = not thread.is_alive()  # asked before the queue: what was sent until then is in it
        with contextlib.suppress(Empty):
            while True:
                item = lines.get(timeout=_POLL_SECONDS)
                if isinstance(item, _Outcome):
                    thread.join()
                yield item


def _explained(ray_train: Any, failures: list[BaseException], config: TrainingConfig) -> BaseException:
    """Return what to raise where no worker has sent an outcome."""
    error = failures[0] if failures else None
    if isinstance(error, ray_train.WorkerGroupError):
        for _, failure in sorted(error.worker_failures.items()):
            if isinstance(failure, OSError):  # a full disk, a folder that is not there
                return failure
    if error is not None and not isinstance(error, ray_train.TrainingFailedError):
        return error
    return WorkerError(
        "the workers of Ray Train have ended without a result, and run.max_failures "
        f"({config.run.max_failures}) allows no further attempt. The same command goes on from the last checkpoint. "
        f"The last reason: {error}"
    )


@contextlib.contextmanager
def _notes(folder: Path) -> Iterator[None]:
    """Remove the notes of Ray Train in the end, and the folder if it holds nothing else."""
    try:
        yield
    finally:
        shutil.rmtree(folder / _FOLDER, ignore_errors=True)
        with contextlib.suppress(OSError):
            folder.rmdir()
