"""The report of a loop: `report.json`, a table as Markdown, and the curve of accuracy against edits made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from augment.loop.config import LoopConfig
from augment.loop.rounds import write_json
from augment.report.plot_style import COLOURS, plot_look, rendered_plot
from augment.storage.tar import write_bytes_atomic

Row = Mapping[str, Any]
_DRAWN = {"accuracy": ("o", COLOURS[0]), "worst_group": ("s", COLOURS[1])}
_READ = ("accuracy", "worst_group")  # of every round that test was read for
_SHOWN = 3  # weakest groups of a row


def write_loop_report(
    out: Path, config: LoopConfig, rows: Sequence[Row], best: int, reason: str, tests: Mapping[int, Row]
) -> dict[str, Any]:
    """Write `report.json`, `report.md` and `loop.svg`, and return the content of the first.

    Args:
        rows: of all rounds; their figures are of val.
        best: number of the best round on val.
        reason: why it stopped.
        tests: round -> figures of its classifier, for all rounds that test was read for; empty without test.
    """
    test = tests[best] if tests else None
    report = {
        "config": config.model_dump(mode="json"),
        "rows": list(rows),
        "best_round": best,
        "stopped": reason,
        "edits": rows[-1]["edits"],
        "gpu_hours": sum(row["worker_seconds"] for row in rows) / 3600,
        "test": test,
        "test_read": [{"round": number} | {name: tests[number][name] for name in _READ} for number in sorted(tests)],
    }
    with plot_look():
        write_bytes_atomic(out / "loop.svg", rendered_plot(loop_figure(rows, best, test), "svg"))
    write_bytes_atomic(out / "report.md", ("\n".join(loop_table(report)) + "\n").encode())
    write_json(out / "report.json", report)
    return report


def loop_table(report: Row) -> list[str]:
    """Return the lines of a Markdown table: a row for each round, with what val says, and what test says in the end."""
    head = ["round", "edits made", "accepted", "worker seconds", "val accuracy, %", "worst group, %", "weakest"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for row in report["rows"]:
        weakest = [f"{w['class_name']}, {w['attribute']} {w['value']}" for w in row["weakest"][:_SHOWN]]
        number = f"**{row['round']}**" if row["round"] == report["best_round"] else str(row["round"])
        cells = [number, str(row["edits"]), str(row["accepted"]), f"{row['worker_seconds']:.0f}"]
        cells += [_loop_share(row, "accuracy"), f"{_loop_share(row, 'worst_group')} {row['worst_group_name']}"]
        lines.append(f"| {' | '.join([*cells, '; '.join(weakest)])} |")
    lines += ["", f"Stopped: {report['stopped']}. Round {report['best_round']} is the best on val."]
    if test := report["test"]:
        shares = f"accuracy {_loop_share(test, 'accuracy')} %, worst group {_loop_share(test, 'worst_group')} %"
        others = [str(read["round"]) for read in report["test_read"] if read["round"] != report["best_round"]]
        once = f"also read for round {', '.join(others)} before the loop went on" if others else "read once"
        lines.append(f"Test, {once}, by that round's classifier: {shares} ({test['worst_group_name']}).")
    return lines


def loop_figure(rows: Sequence[Row], best: int, test: Row | None) -> Figure:
    """Draw val's accuracy and worst group against the edits made, with 95 % intervals, and test's at the best round."""
    figure = Figure(figsize=(5.2, 3.2), layout="constrained")
    axes = figure.subplots()
    edits = [row["edits"] for row in rows]
    for measure, (marker, colour) in _DRAWN.items():
        values = [100 * row[measure] for row in rows]
        low = [100 * (row[measure] - row[f"{measure}_low"]) for row in rows]
        high = [100 * (row[f"{measure}_high"] - row[measure]) for row in rows]
        label = f"val, {measure.replace('_', ' ')}"
        axes.errorbar(edits, values, yerr=[low, high], fmt=f"{marker}-", color=colour, markersize=4, label=label)
        if test:
            label = f"test, {measure.replace('_', ' ')}, best round"
            axes.plot([edits[best]], [100 * test[measure]], marker="*", color=colour, linestyle="none", label=label)
    axes.set(xlabel="edits made", ylabel="%, 95 % intervals", ylim=(0, 101))
    axes.legend(frameon=False, loc="lower right")
    return figure


def _loop_share(row: Row, name: str) -> str:
    return f"{100 * row[name]:.1f} ({100 * row[f'{name}_low']:.1f} to {100 * row[f'{name}_high']:.1f})"
