"""The `augment` command: its groups of commands in one app.

Anything heavy is imported inside a command, so that `--help` is quick.
"""

from __future__ import annotations

import io
import os
import sys

import typer

from augment.cli import expansion, machine, measure, start, training

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Offline semantic augmentation of image-classification datasets.",
)


@app.callback()
def _main() -> None:
    """Offline semantic augmentation of image-classification datasets."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # as stderr is: a name that is not in UTF-8 must not end a command
        sys.stdout.reconfigure(errors="backslashreplace")
    if "OMP_WAIT_POLICY" not in os.environ:
        # The threads of torch wait for each other by computing nothing as fast as they can, for some milliseconds:
        # beside another program they then wait for a thread that has no core. A thirtieth of that costs little where
        # they are alone (`jobs.benchmark_waiting`). OpenMP reads this when torch is loaded, which no command has done
        # yet; workers inherit it.
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")


for _command in (
    start.init,
    expansion.validate,
    expansion.prompts,
    expansion.plan,
    expansion.preview,
    expansion.tune,
    expansion.expand,
    expansion.status,
    expansion.finalize,
    expansion.verify,
    training.train,
    training.study,
    training.loop,
    machine.doctor,
    measure.benchmark,
    measure.interpolate,
    measure.rare_concepts,
    measure.evaluate_tiny,
):
    app.command()(_command)


if __name__ == "__main__":
    app()
