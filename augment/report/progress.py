"""How far a run is: counts, rate and time left, as numbers and as one line of a log."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from augment.types import EditStatus, UnitReport

WINDOW_SECONDS = 180.0  # over which the rate is measured


class RunProgress:
    """The counts of a run, kept by one thread; others may read them, `as_dict()` too, at any time.

    Args:
        planned: edits of the whole plan.
        done: reports of the units that were done before this run began.
        to_keep: edits in the other units that are there already and only have to be taken over.
        clock: seconds that never go back.

    Attributes:
        edited, failed: edits made, and edits that could not be made, by this run and before; together, `done`.
        rejected: edits below a threshold of the moment, by score. Provisional: `finalize` decides.
        failed_by_stage: the failed edits, by where they failed.
        workers: how many are ready or at work; set by whoever runs them.
    """

    def __init__(
        self,
        planned: int,
        done: Iterable[UnitReport] = (),
        clock: Callable[[], float] = time.monotonic,
        to_keep: int = 0,
    ) -> None:
        self.planned, self.clock = planned, clock
        self._to_keep, self._kept = to_keep, 0
        self.edited = self.failed = self.workers = 0
        self.rejected: Counter[str] = Counter()
        self.failed_by_stage: Counter[str] = Counter()
        self._psnr_sum = self._vae_psnr_sum = 0.0
        self._inverted = 0
        self._model_seconds = self._idle_seconds = 0.0
        for report in done:
            self._count(report)
        # Times, and edits done by then. The first one is where the window begins; there is always one.
        self._kept = 0  # of this run alone
        self._window = deque([(clock(), self.done)])

    def observe(self, report: UnitReport) -> None:
        """Count a unit that this run has done."""
        self._count(report)
        now = self.clock()
        self._window.append((now, self.done - self._kept))
        while len(self._window) > 2 and self._window[1][0] <= now - WINDOW_SECONDS:
            self._window.popleft()

    def _count(self, report: UnitReport) -> None:
        self.edited += report.edited
        self._kept += report.kept
        self.failed += report.failed
        self.rejected.update({k: n for k, n in report.provisional.items() if k != EditStatus.ACCEPTED and n})
        self.failed_by_stage.update(report.failed_by_stage)
        self._psnr_sum += report.psnr_sum
        self._vae_psnr_sum += report.vae_psnr_sum
        self._inverted += report.inverted
        self._model_seconds += report.seconds.get("model", 0.0)
        self._idle_seconds += report.seconds.get("idle", 0.0)

    @property
    def done(self) -> int:
        """Return the number of edits that are made or failed."""
        return self.edited + self.failed

    @property
    def rate(self) -> float | None:
        """Return this run's edits per second over the last minutes, failed ones too; None before it has made one.

        Edits that were there already and are only taken over do not count.
        The window ends now and begins with a unit: with few long units a fixed one would jump, or hold none.
        """
        (began, before), (_, after) = self._window[0], self._window[-1]
        seconds = self.clock() - began
        return (after - before) / seconds if after > before and seconds > 0 else None

    @property
    def eta_seconds(self) -> float | None:
        """Return the seconds until all is done at this rate; None if that is not known yet."""
        left, rate = self.planned - self.done - max(0, self._to_keep - self._kept), self.rate
        return 0.0 if left <= 0 else left / rate if rate else None

    @property
    def mean_reconstruction_psnr(self) -> float | None:
        """Return the mean PSNR in dB of the reconstructions so far; None if there are none."""
        return self._psnr_sum / self._inverted if self._inverted else None

    @property
    def mean_vae_psnr(self) -> float | None:
        """Return the mean PSNR in dB of the same images only encoded and decoded, the bound; None if there are none."""
        return self._vae_psnr_sum / self._inverted if self._inverted else None

    @property
    def busy_share(self) -> float | None:
        """Return the share of the workers' time, loading left out, in which models work; None before there is any."""
        seconds = self._model_seconds + self._idle_seconds
        return self._model_seconds / seconds if seconds else None

    def line(self) -> str:
        """Return one line of a log: `412/1536 edits, 14.2/s, ETA 1 min 19 s, 2 workers, rejected 0, failed 0`."""
        rate, eta = self.rate, self.eta_seconds
        words = [
            f"{self.done}/{self.planned} edits",
            *([f"{number(rate)}/s"] if rate else []),
            *([f"ETA {duration(eta)}"] if eta else []),
            f"{self.workers} worker{'' if self.workers == 1 else 's'}",
            f"rejected {counted(self.rejected)}",
            f"failed {counted(self.failed_by_stage, self.failed)}",
        ]
        return ", ".join(words)

    def as_dict(self) -> dict[str, Any]:
        """Return the same as numbers, for `run/status.json`."""
        # dict(counter) copies in one step: the thread that counts may be at work.
        return {
            "planned": self.planned,
            "done": self.done,
            "edited": self.edited,
            "failed": self.failed,
            "failed_by_stage": dict(self.failed_by_stage),
            "rejected_by_reason": dict(self.rejected),
            "edits_per_second": self.rate,
            "eta_seconds": self.eta_seconds,
            "workers": self.workers,
            "busy_share": self.busy_share,
            "mean_reconstruction_psnr": self.mean_reconstruction_psnr,
            "mean_vae_psnr": self.mean_vae_psnr,
        }


def duration(seconds: float) -> str:
    """Return seconds as `42 s`, `1 min 19 s`, `3 h 05 min` or `2 d 4 h`: two units are enough to plan with."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24} h"


def number(rate: float) -> str:
    """Return a rate with two or three digits."""
    return f"{rate:.1f}" if rate >= 1 else f"{rate:.2g}"


def counted(counts: Mapping[str, int], total: int | None = None) -> str:
    """Return counts as `6 (label_probability 4, psnr_gap 2)`: the commonest first."""
    by_count = sorted(dict(counts).items(), key=lambda item: (-item[1], item[0]))
    details = ", ".join(f"{name} {count}" for name, count in by_count)
    return f"{sum(counts.values()) if total is None else total}" + (f" ({details})" if details else "")
