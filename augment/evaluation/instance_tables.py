"""The documentation's tables of what edits keep of their objects, from the report of a benchmark. Plain data in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from augment.evaluation.page_tables import markdown
from augment.evaluation.tables import NOT_KNOWN, figure, is_known, kept_words, lost_words
from augment.inversion.settings import SINGLE_ITERATION

Row = Mapping[str, Any]
HEAD = ("method", "strength", "target shown", "object kept", "displacement, px")
PLAIN = {"render": "the renders", "round_trip": "the autoencoder's round trip", "image_to_image": "image to image"}
# Rows of a track that the short tables show: method, strength, preserve, self_replace_steps.
CHOSEN = (
    ("round_trip", None, None, None),
    ("image_to_image", 0.8, None, None),
    ("ddim", 1.0, "none", 0.0),
    ("anderson", 0.8, "none", 0.0),
    ("anderson", 0.8, "attention", 1.0),
)


def unknown_objects(report: Row) -> list[str]:
    """Return what edits of objects without a word keep and reach, by method and strength, with 95 % intervals."""
    rows = [r for r in report["instance"] if r["track"] == "unknown"]
    return markdown((*HEAD, "evaluations per edit"), [[*_common(r), _evaluations(r)] for r in rows])


def named_objects(report: Row) -> list[str]:
    """Return how exactly edits keep objects with a word, by method, with 95 % intervals."""
    rows = [r for r in report["instance"] if r["track"] == "named"]
    cells = [[*_common(r), _share(r, "flip_kept"), figure(r["mask_iou"], ".3f"), _evaluations(r)] for r in rows]
    return markdown((*HEAD, "side kept", "outline, IoU", "evaluations per edit"), cells)


def tracks(report: Row) -> list[str]:
    """Return the chosen rows of every track; of a change of the condition also how often the background stays."""
    cells = []
    for track in dict.fromkeys(r["track"] for r in report["instance"]):
        for r in _chosen(r for r in report["instance"] if r["track"] == track):
            stays = _share(r, "rest_kept") if track == "condition" else ""
            cells.append([f"`{track}`", *_common(r), figure(r["outside_change"], ".3f"), stays])
    return markdown(("track", *HEAD, "change outside the object", "background stays"), cells)


def students(report: Row) -> list[str]:
    """Return what edits keep of objects with a word and without one, by method, with 95 % intervals."""
    cells = [[f"`{r['track']}`", *_common(r), _evaluations(r)] for r in report["instance"] if r["method"] != "render"]
    return markdown(("track", *HEAD, "evaluations per edit"), cells)


def excerpt(report: Row) -> list[str]:
    """Return the chosen rows of objects with a word and without one, side by side."""
    of_track = {name: _chosen(r for r in report["instance"] if r["track"] == name) for name in ("named", "unknown")}
    head = ("edits by", "evaluations", "target shown", "moved, px", "no word: target shown", "no word: object kept")
    cells = [
        [
            _name(a) + ("" if a.get("strength") is None else f", strength {a['strength']:g}"),
            _evaluations(a),
            f"{100 * a['target_reached']:.0f} %" if a.get("strength") else "",
            figure(a["displacement_px"], ".2f"),
            f"{100 * b['target_reached']:.0f} %" if b.get("strength") else "",
            _share(b, "object_kept"),
        ]
        for a, b in zip(of_track["named"], of_track["unknown"], strict=True)
    ]
    return markdown(head, cells)


def solvers(report: Row) -> list[str]:
    """Return for each solver what its edits show and keep, alone and with what preserves, side by side."""
    modes = {"alone": ("none", 0.0), "mask": ("attention", 0.0), "mask, attending as before": ("attention", 1.0)}
    found: dict[str, dict[tuple[str, float], Row]] = {}
    for row in report["instance"]:
        if "solver" in row:
            steps = row["stop"]["max_steps"] if not row["stop"]["tolerance"] else 0
            steps = 1 if row["method"] in SINGLE_ITERATION else steps
            start = ", from z'" if row["warm_start"] == "none" else ""
            name = f"`{row['method']}`{start}" + (f", {steps} iteration{'s' * (steps > 1)}" if steps else "")
            found.setdefault(name, {})[row["preserve"], row["self_replace_steps"]] = row
    head = ["solver", "evaluations", *(f"{mode}: {what}" for mode in modes for what in ("target shown", "moved, px"))]
    cells = []
    for name, of_mode in found.items():
        line = [name, _evaluations(of_mode["none", 0.0])]
        for key in modes.values():
            displacement = figure(of_mode[key]["displacement_px"], ".2f")
            line += [f"{100 * of_mode[key]['target_reached']:.0f} %", displacement]
        cells.append(line)
    return markdown(head, cells)


def _chosen(rows: Iterable[Row]) -> list[Row]:
    by_key = {_key(r): r for r in rows}
    return [by_key[key] for key in CHOSEN if key in by_key]


def _key(row: Row) -> tuple[Any, ...]:
    return row["method"], row.get("strength"), row.get("preserve"), row.get("self_replace_steps")


def _common(row: Row) -> list[str]:
    """Return the cells under `HEAD`."""
    value, high = row["displacement_px"], row["displacement_px_high"]
    displacement = f"{value:.2f} ± {high - value:.2f}" if is_known(value) else NOT_KNOWN
    strength = "" if row.get("strength") is None else f"{row['strength']:g}"
    return [_name(row), strength, _share(row, "target_reached"), _share(row, "object_kept"), displacement]


def _evaluations(row: Row) -> str:
    return f"{row['evaluations_per_edit']:.0f}" if row.get("strength") else ""


def _name(row: Row) -> str:
    if row["method"] in (*PLAIN, "text_to_image"):
        return PLAIN.get(row["method"], "text to image")
    start = ", from z'" if row["warm_start"] == "none" else ""
    guidance = row.get("inversion_guidance_scale", 1.0)
    guided = [f"guidance {guidance:g} while inverting"] if guidance != 1.0 else []
    return ", ".join([f"`{row['method']}`{start}", *guided, *kept_words(row), *lost_words(row)])


def _share(row: Row, name: str) -> str:
    value, low, high = (100 * row[key] for key in (name, f"{name}_low", f"{name}_high"))
    return f"{value:.0f} % ({low:.0f}–{high:.0f})"
