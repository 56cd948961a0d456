"""Measure what it costs how long idle threads of torch wait busily before they sleep, alone and side by side.

    python -m jobs.benchmark_waiting [--seconds 15] [--rounds 3]

Each process makes pictures from text with the embedded model, 16 at once, on all cores. Shown are pictures a second of
all processes together: the median of the rounds, in which the ways take turns.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import time

from augment.editing import EditConfig, text_to_image
from augment.models.config import ModelConfig
from augment.models.load import load_model
from augment.tiny.captions import canonical_caption

# GOMP_SPINCOUNT: turns of a loop; OpenMP's default is the first. `augment` sets the second.
SPIN_COUNTS = {"OpenMP's default": "300000", "the commands": "10000", "asleep at once": "0"}
PROCESSES = (1, 2)  # at once
AT_ONCE = 16  # pictures


def pictures_per_second(seconds: float) -> float:
    """Return how many pictures a second this process makes."""
    model, config = load_model(ModelConfig()), EditConfig(num_steps=4)
    prompts = [canonical_caption("fox", "snow", "clear")] * AT_ONCE
    text_to_image(model, prompts, range(AT_ONCE), config)  # the first one takes longer
    made, began = 0, time.monotonic()
    while time.monotonic() - began < seconds:
        text_to_image(model, prompts, range(AT_ONCE), config)
        made += AT_ONCE
    return made / (time.monotonic() - began)


def of_processes(count: int, spins: str, seconds: float) -> float:
    """Return the pictures a second of some processes at once, together."""
    command = [sys.executable, "-m", "jobs.benchmark_waiting", "--worker", "--seconds", str(seconds)]
    environment = os.environ | {"GOMP_SPINCOUNT": spins}
    started = [subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE) for _ in range(count)]
    answers = [process.communicate()[0] for process in started]
    return sum(map(float, answers))


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=15.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(pictures_per_second(arguments.seconds))
        return
    found: dict[tuple[int, str], list[float]] = {}
    for _, count, (name, spins) in itertools.product(range(arguments.rounds), PROCESSES, SPIN_COUNTS.items()):
        found.setdefault((count, name), []).append(of_processes(count, spins, arguments.seconds))
    print(f"| processes at once | {' | '.join(SPIN_COUNTS)} |\n|---|{'---|' * len(SPIN_COUNTS)}")
    for count in PROCESSES:
        cells = [f"{statistics.median(found[count, name]):.1f} pictures/s" for name in SPIN_COUNTS]
        print(f"| {count} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
