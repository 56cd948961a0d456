"""The tables of docs/study.md and the README's, from the study's report. Plain data in, Markdown lines out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
EXCERPT_TRACKS = {
    "unknown": "objects without a word",
    "marks": "classes that differ by a mark",
    "mixed": "both, 95 % biased",
    "bias_95": "named, 95 % biased",
}
TITLES = {"rare": "rare classes"}
EXCERPT_ARMS = {
    "none": "the real pictures alone",
    "flips_crops": "with flips and crops",
    "image_to_image_flips_crops": "and image to image",
    "text_to_image_flips_crops": "and text to image",
    "default_flips_crops": "**and edits**",
    "oracle": "as many more real, unbiased pictures",
}


def track_table(report: Row, track: str) -> list[str]:
    """Return the rows of a track: every arm with 95 % intervals, and its leads over arms with its augmentation.

    There are none if the track is not in the report.
    """
    rows = [row for row in report["rows"] if row["track"] == track]
    if not rows:
        return []
    over = ("nothing_made", "image_to_image", "text_to_image")
    measured = ["label_true", "accuracy", "worst_group", "corrupted"]
    measured += ["rare"] if rows[0]["rare"] is not None else []
    head = ["arm", "made", *(f"{TITLES.get(name, name.replace('_', ' '))}, %" for name in measured)]
    head += [f"over {name.replace('_', ' ')}, points" for name in over]
    lines = []
    for row in rows:
        leads = [_lead(report, track, row["arm"], name) for name in over]
        shares = [_share(row, name) for name in measured]
        lines.append([f"`{row['arm']}`", str(row["edits"] or ""), *shares, *leads])
    return _markdown(head, lines)


def budget_table(report: Row) -> list[str]:
    """Return accuracy by the number of synthetic pictures: a row for each track and arm; none if that was not asked."""
    if not (rows := report["budget"]):
        return []
    lines = []
    for track, arm in dict.fromkeys((row["track"], row["arm"]) for row in rows):
        full = [row for row in report["rows"] if (row["track"], row["arm"]) == (track, arm)]
        of_arm = [row for row in rows if (row["track"], row["arm"]) == (track, arm)] + full
        points = {row["edits"]: row for row in sorted(of_arm, key=lambda row: row["edits"])}
        lines.append([track, f"`{arm}`", *(f"{edits}: {_share(row, 'accuracy')}" for edits, row in points.items())])
    width = max(map(len, lines))
    return _markdown(["track", "arm", *(["made: accuracy, %"] + [""] * (width - 3))], lines)


def excerpt_table(report: Row) -> list[str]:
    """Return the accuracy of the chief arms on the chief tracks; no row unless all these tracks are in the report."""
    cells = {(row["track"], row["arm"]): row for row in report["rows"]}
    tracks = list(EXCERPT_TRACKS)
    if any((track, "none") not in cells for track in tracks):
        return []
    lines = []
    for arm, name in EXCERPT_ARMS.items():
        found = [cells.get((track, f"{arm}_flips_crops"), cells.get((track, arm))) for track in tracks]
        lines.append([name, *(_share(row, "accuracy", digits=0) if row else "" for row in found)])
    return _markdown(["trained on", *(f"{EXCERPT_TRACKS[track]} (`{track}`)" for track in tracks)], lines)


def _lead(report: Row, track: str, arm: str, over: str) -> str:
    for row in report["differences"]:
        if (row["track"], row["arm"], row["over"], row["measure"]) == (track, arm, over, "accuracy"):
            value, low, high = (100 * row[f"difference{end}"] for end in ("", "_low", "_high"))
            return f"{value:+.1f} ({low:+.1f} to {high:+.1f})"
    return ""


def _share(row: Row, name: str, digits: int = 1) -> str:
    if row[name] is None:
        return ""
    value, low, high = (100 * row[f"{name}{end}"] for end in ("", "_low", "_high"))
    return f"{value:.{digits}f} ({low:.0f}–{high:.0f})"


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {' | '.join(row)} |" for row in rows)]
