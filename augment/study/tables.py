"""The study's report as Markdown. Plain data in, text out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
OVER = ("nothing_made", "image_to_image", "text_to_image")  # as in `augment.study.compare.compared_with`


def study_table(report: Row) -> str:
    """Return a table for each track: a row for each arm, with 95 % intervals, and its lead over other arms."""
    lines = [f"Edits by {report['model']}, revision {report['revision']}."]
    for track in report["tracks"]:
        rows = [row for row in report["rows"] if row["track"] == track]
        differences = [row for row in report["differences"] if row["track"] == track]
        lines += ["", f"## {track}", "", *_track_lines(rows, differences)]
        if fewer := [row for row in report["budget"] if row["track"] == track]:
            lines += ["", f"## {track}: fewer edits", "", *_track_lines(fewer, [])]
    return "\n".join(lines) + "\n"


def _track_lines(rows: Sequence[Row], differences: Sequence[Row]) -> list[str]:
    over = [name for name in OVER if any(row["over"] == name for row in differences)]
    head = [f"arm, {rows[0]['seeds']} seeds, intervals over {rows[0]['intervals_over']}", "edits", "label true, %"]
    rare = ["rare"] if rows[0]["rare"] is not None else []
    head += [
        "accuracy, %",
        "worst group, %",
        "corrupted, %",
        *(["rare classes, %"] if rare else []),
        *(f"accuracy over {name.replace('_', ' ')}, points" for name in over),
    ]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for row in rows:
        leads = [
            next((_points(d) for d in differences if _is_lead(d, row["arm"], name)), "")  # none over itself
            for name in over
        ]
        cells = [f"`{row['arm']}`", str(row["edits"]), _share(row, "label_true")]
        cells += [_share(row, name) for name in ("accuracy", "worst_group", "corrupted", *rare)]
        cells += leads
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _is_lead(difference: Row, arm: str, over: str) -> bool:
    return (difference["arm"], difference["over"], difference["measure"]) == (arm, over, "accuracy")


def _share(row: Row, name: str) -> str:
    if row[name] is None:
        return ""
    return f"{100 * row[name]:.1f} ({100 * row[f'{name}_low']:.1f} to {100 * row[f'{name}_high']:.1f})"


def _points(row: Row) -> str:
    value, low, high = (100 * row[name] for name in ("difference", "difference_low", "difference_high"))
    return f"{value:+.1f} ({low:+.1f} to {high:+.1f})"
