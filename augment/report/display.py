"""The live display of a run on a terminal, and its lines elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from augment.report.progress import RunProgress, counted, duration, number

PROGRESS_SECONDS = 30.0  # between two lines where there is no terminal
_REDRAW_SECONDS = 0.2


@contextlib.contextmanager
def display(progress: RunProgress, stream: TextIO) -> Iterator[Callable[[], None]]:
    """Show a run while the block lasts: live on a terminal, elsewhere a line every `PROGRESS_SECONDS`, first and last.

    Yields a function to be called as often as something may have changed. It draws in the caller's thread: only there
    are signals handled.
    """
    console = Console(file=stream)
    if stream.isatty() and not console.is_dumb_terminal:
        # What is printed to stdout is for programs and stays there; warnings on stderr appear above the display.
        with Live(_panel(progress), console=console, auto_refresh=False, redirect_stdout=False) as live:
            drawn = [progress.clock()]

            def draw() -> None:
                if progress.clock() - drawn[0] >= _REDRAW_SECONDS:
                    drawn[0] = progress.clock()
                    live.update(_panel(progress), refresh=True)

            try:
                yield draw
            finally:
                live.update(_panel(progress))  # drawn once more as the display ends
        return

    def tell() -> None:
        told[0] = progress.clock()
        print(progress.line(), file=stream, flush=True)

    def tick() -> None:
        if progress.clock() - told[0] >= PROGRESS_SECONDS:
            tell()

    told = [progress.clock()]
    tell()
    try:
        yield tick
    finally:
        tell()


def _panel(progress: RunProgress) -> RenderableType:
    rate, eta = progress.rate, progress.eta_seconds
    psnr, bound = progress.mean_reconstruction_psnr, progress.mean_vae_psnr
    busy = "" if progress.busy_share is None else f", models busy {progress.busy_share:.0%}"
    head = Table.grid(padding=(0, 1))
    head.add_row(
        ProgressBar(total=max(1, progress.planned), completed=progress.done, width=30),
        Text(f"{progress.done}/{progress.planned} edits"),
        Text(f"{number(rate)}/s" if rate else "-/s", style="cyan"),
        Text(f"ETA {'-' if eta is None else duration(eta)}", style="cyan"),
        Text(f"{progress.workers} worker{'' if progress.workers == 1 else 's'}{busy}"),
    )
    failed = Text(f"failed {counted(progress.failed_by_stage, progress.failed)}", style="red" * (progress.failed > 0))
    quality = "-" if psnr is None or bound is None else f"{psnr:.2f} dB; VAE alone, the bound: {bound:.2f} dB"
    rejected = f"rejected {counted(progress.rejected)}"
    return Group(head, Text(rejected), failed, Text(f"reconstruction {quality}"))
