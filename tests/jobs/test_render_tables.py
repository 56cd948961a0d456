"""The documentation's tables: rows of known figures, and pages that ask for tables that exist."""

from __future__ import annotations

import re
from typing import Any

import pytest

from augment.evaluation import instance_tables
from augment.evaluation import page_tables as tables
from augment.study import page_tables as study_tables
from jobs import render_tables


def row(solver: str, warm_start: str, num_steps: int, gap: float, **more: Any) -> dict[str, Any]:
    derivatives = {kind: more.pop(kind, 0) * num_steps for kind in ("vjp", "jvp")}
    return {
        "solver": solver,
        "settings": {},
        "warm_start": warm_start,
        "num_steps": num_steps,
        "gap": gap,
        "max_steps": 1,
        "tolerance": 0,
        "evaluations_per_step": 1.0,
        **derivatives,
        **more,
    }


def reports() -> tuple[dict[str, Any], dict[str, Any]]:
    few, many = [], []
    for n, rows in ((4, few), (10, few), (20, few), (50, many)):
        rows.append(row("anderson", "extrapolated", n, 0.004, max_steps=8, tolerance=0.03, evaluations_per_step=80 / n))
        for i, start in enumerate(("none", "previous", "extrapolated")):
            rows.append(row("rnri", start, n, (i + 1) / n, vjp=1, evaluations_per_step=2.0))
            rows.append(row("ddim", start, n, (3 - i) / n))
    for n in (4, 10):
        deep = {"max_steps": 5, "evaluations_per_step": 5.0, "settings": {"memory": 3}}
        few.append(row("anderson", "none", n, -0.001, **deep))
        few.append(row("newton_krylov", "extrapolated", n, 0.25, max_steps=2, evaluations_per_step=4.0, jvp=2))
    return {"rows": few}, {"rows": many}


def test_starts_are_in_the_order_of_their_cost_and_the_default_is_last() -> None:
    assert tables.starts(*reports())[2:] == [
        "| `ddim` | 1 | 0.75 / 0.50 / 0.25 | 0.30 / 0.20 / 0.10 | 0.15 / 0.10 / 0.05 | 0.06 / 0.04 / 0.02 |",
        "| `rnri`, a backward pass among them | 2 | 0.25 / 0.50 / 0.75 | 0.10 / 0.20 / 0.30 | 0.05 / 0.10 / 0.15 "
        "| 0.02 / 0.04 / 0.06 |",
        "| `newton_krylov`, two JVPs among them | 4 | – / – / 0.25 | – / – / 0.25 |  |  |",
        "| `anderson`, m = 3: AIDI as published | 5 | 0.00 / – / – | 0.00 / – / – |  |  |",
        "| **`anderson`, the default: tolerance 0.03** | 20.00 / 8.00 / 4.00 / 1.60 | **0.00** | **0.00** | **0.00** "
        "| **0.00** |",
    ]


SHARE = {"": 0.9, "_low": 0.81, "_high": 0.95}


def test_the_readme_has_some_of_the_rows_word_for_word() -> None:
    whole, some = tables.starts(*reports()), tables.starts_excerpt(*reports())
    assert [line for line in whole if line in some] == some
    assert {line.partition("`")[2].partition("`")[0] for line in some[2:]} == {"ddim", "rnri", "anderson"}
    assert not any("AIDI" in line for line in some)


def test_a_page_keeps_what_has_no_report() -> None:
    page = "before\n<!-- table: starts -->\nold\n<!-- end -->\n<!-- table: guidance -->\nold\n<!-- end -->\nafter\n"
    few, many = reports()
    after = render_tables.rendered(page, {"": few, "_50": many})
    assert after.startswith("before\n<!-- table: starts -->\n\n| method |")
    assert after.endswith("<!-- end -->\n<!-- table: guidance -->\nold\n<!-- end -->\nafter\n")
    assert render_tables.rendered(page, {"": few}) == page
    assert render_tables.rendered(after, {"": few, "_50": many}) == after


def test_edits_are_named_by_what_is_not_the_default() -> None:
    about = {
        "method": "anderson",
        "solver": {"name": "anderson"},
        "stop": {"tolerance": 0.1},
        "warm_start": "none",
        "sampler": "lcm",
        "match_noise": False,
        "adjustment_strength": 0.0,
        "strength": 0.7,
        "guidance_scale": 3.0,
        "background_reached": 1.0,
        "object_kept": 0.5,
        "text_alignment": 0.9,
        "structure_distance": 0.25,
        "evaluations_per_step": 1.5,
    }
    (line,) = tables.editing_lcm({"editing": [about]})[2:]
    name = "`anderson`, tolerance 0.1, from z', lcm, noise fixed in advance"
    assert line == f"| {name} | 3 | 100.0 % | 50.0 % | 0.900 | 0.250 | 1.5 |"


@pytest.mark.parametrize("page", render_tables.PAGES)
def test_pages_ask_for_tables_that_are_made(page: str) -> None:
    text = (render_tables.ROOT / page).read_text()
    names = re.findall(r"<!-- table: ([\w-]+) -->", text)
    assert names and set(names) <= set(render_tables.TABLES)
    assert text.count("<!-- end -->") == len(names)


def instance_row(track: str, method: str, displacement: float, **settings: Any) -> dict[str, Any]:
    shares = {
        f"{name}{end}": value
        for name in ("target_reached", "object_kept", "flip_kept", "rest_kept")
        for end, value in SHARE.items()
    }
    found = {"displacement_px": displacement, "displacement_px_high": displacement + 0.1, "mask_iou": 0.8123}
    cost = {"evaluations_per_edit": 21.6, "outside_change": 0.25}
    return {"track": track, "method": method, "warm_start": "none", **shares, **found, **cost, **settings}


PLAIN = {"strength": 0.8, "preserve": "none", "self_replace_steps": 0.0, "warm_start": "extrapolated"}
KEPT = {**PLAIN, "preserve": "attention", "self_replace_steps": 1.0}


def test_unknown_objects_by_strength() -> None:
    way = {"preserve": "attention", "strength": 0.7}
    rows = [instance_row("unknown", "render", 1.26), instance_row("unknown", "ddim", 1.26, **way)]
    lines = instance_tables.unknown_objects({"instance": [*rows, instance_row("named", "render", 0.5)]})
    assert lines[2:] == [
        "| the renders |  | 90 % (81–95) | 90 % (81–95) | 1.26 ± 0.10 |  |",
        "| `ddim`, from z', preserve: attention | 0.7 | 90 % (81–95) | 90 % (81–95) | 1.26 ± 0.10 | 22 |",
    ]


def test_named_objects_by_what_keeps_them() -> None:
    rows = [instance_row("named", "anderson", d, **way) for d, way in ((1.5, PLAIN), (1.0, KEPT))]
    share = "90 % (81–95)"
    assert instance_tables.named_objects({"instance": rows})[2:] == [
        f"| `anderson` | 0.8 | {share} | {share} | 1.50 ± 0.10 | {share} | 0.812 | 22 |",
        f"| `anderson`, preserve: attention, self_replace_steps: 1 | 0.8 | {share} | {share} | 1.00 ± 0.10 | {share} "
        "| 0.812 | 22 |",
    ]


def test_tracks_and_the_readmes_table_show_the_chosen_rows() -> None:
    rows = [
        instance_row(track, method, d, **way)
        for track, d in (("named", 1.0), ("unknown", 2.0), ("condition", 3.0))
        for method, way in (
            ("render", {}),
            ("round_trip", {}),
            ("anderson", KEPT),
            ("anderson", {**PLAIN, "strength": 0.7}),
        )
    ]
    share = "90 % (81–95)"
    of_student = instance_tables.students({"instance": rows})[2:]
    assert len(of_student) == 9  # all but the renders
    assert of_student[1].endswith(f"| 0.8 | {share} | {share} | 1.00 ± 0.10 | 22 |")
    lines = instance_tables.tracks({"instance": rows})[2:]
    assert len(lines) == 6
    assert lines[0] == f"| `named` | the autoencoder's round trip |  | {share} | {share} | 1.00 ± 0.10 | 0.250 |  |"
    assert lines[5].startswith("| `condition` | `anderson`, preserve: attention") and lines[5].endswith(f"| {share} |")
    assert instance_tables.excerpt({"instance": rows})[2:] == [
        f"| the autoencoder's round trip |  |  | 1.00 |  | {share} |",
        f"| `anderson`, preserve: attention, self_replace_steps: 1, strength 0.8 | 22 | 90 % | 1.00 | 90 % | {share} |",
    ]


def test_solvers_stand_beside_each_other_by_what_preserves() -> None:
    default, published = ({"stop": {"max_steps": n, "tolerance": t}} for n, t in ((8, 0.03), (1, 0.0)))
    rows = [
        instance_row("named", method, d, **{**mode, **start, "solver": {"name": method}})
        for method, start in (("anderson", default), ("ddim", {**published, "warm_start": "none"}))
        for d, mode in ((1.5, PLAIN), (1.2, {**PLAIN, "preserve": "attention"}), (1.0, KEPT))
    ]
    rows.append(instance_row("named", "anderson", 9.0, **{**PLAIN, **default, "preserve": "mask", "solver": {}}))
    assert instance_tables.solvers({"instance": [instance_row("named", "render", 0.5), *rows]})[2:] == [
        "| `anderson` | 22 | 90 % | 1.50 | 90 % | 1.20 | 90 % | 1.00 |",
        "| `ddim`, from z', 1 iteration | 22 | 90 % | 1.50 | 90 % | 1.20 | 90 % | 1.00 |",
    ]


def study_row(track: str, arm: str, accuracy: float, edits: int, label_true: float | None = None) -> dict[str, Any]:
    row: dict[str, Any] = {"track": track, "arm": arm, "edits": edits}
    rare = 0.25 if track == "rare" else None
    shares = {"accuracy": accuracy, "worst_group": 0.5, "corrupted": 0.4, "label_true": label_true, "rare": rare}
    for name, value in shares.items():
        row |= {f"{name}{end}": None if value is None else value + more for end, more in ENDS.items()}
    return row


ENDS = {"": 0.0, "_low": -0.021, "_high": 0.019}
STUDY: dict[str, Any] = {
    "rows": [
        study_row("unknown", "none", 0.774, 0),
        study_row("unknown", "text_to_image", 0.381, 960, 0.05),
        study_row("unknown", "default", 0.863, 960, 0.932),
        study_row("unknown", "default_flips_crops", 0.9, 960, 0.932),
        study_row("bias_95", "none", 0.35, 0),
        study_row("rare", "none", 0.5, 0),
    ],
    "budget": [study_row("unknown", "default", 0.8, 60, 0.9), study_row("unknown", "default", 0.84, 240, 0.9)],
    "differences": [
        {"track": "unknown", "arm": "default", "over": "text_to_image", "measure": measure, **LEAD}
        for measure, LEAD in (
            ("worst_group", {"difference": 0.1, "difference_low": 0.0, "difference_high": 0.2}),
            ("accuracy", {"difference": 0.482, "difference_low": 0.44, "difference_high": 0.52}),
        )
    ],
}


def test_a_track_of_the_study() -> None:
    assert study_tables.track_table(STUDY, "unknown") == [
        "| arm | made | label true, % | accuracy, % | worst group, % | corrupted, % "
        "| over nothing made, points | over image to image, points | over text to image, points |",
        "|---|---|---|---|---|---|---|---|---|",
        "| `none` |  |  | 77.4 (75–79) | 50.0 (48–52) | 40.0 (38–42) |  |  |  |",
        "| `text_to_image` | 960 | 5.0 (3–7) | 38.1 (36–40) | 50.0 (48–52) | 40.0 (38–42) |  |  |  |",
        "| `default` | 960 | 93.2 (91–95) | 86.3 (84–88) | 50.0 (48–52) | 40.0 (38–42) |  |  "
        "| +48.2 (+44.0 to +52.0) |",
        "| `default_flips_crops` | 960 | 93.2 (91–95) | 90.0 (88–92) | 50.0 (48–52) | 40.0 (38–42) |  |  |  |",
    ]


def test_a_track_with_rare_classes_has_a_column_for_them() -> None:
    head, _, row = study_tables.track_table(STUDY, "rare")
    assert "| corrupted, % | rare classes, % | over" in head
    assert row == "| `none` |  |  | 50.0 (48–52) | 50.0 (48–52) | 40.0 (38–42) | 25.0 (23–27) |  |  |  |"


def test_the_studys_budget_ends_with_the_whole_number() -> None:
    head, _, line = study_tables.budget_table(STUDY)
    assert line == "| unknown | `default` | 60: 80.0 (78–82) | 240: 84.0 (82–86) | 960: 86.3 (84–88) |"
    assert head.count("|") == line.count("|")


def test_a_study_without_some_tracks_leaves_the_tables_that_need_them_as_they_are() -> None:
    assert study_tables.budget_table(STUDY | {"budget": []}) == study_tables.excerpt_table(STUDY) == []
    page = "<!-- table: study-excerpt -->\n\nas it is\n\n<!-- end -->\n<!-- table: study-marks -->\n<!-- end -->\n"
    assert render_tables.rendered(page, {"study": STUDY}) == page


def test_the_studys_excerpt_has_its_tracks() -> None:
    more = [study_row(track, "none", 0.35, 0) for track in ("marks", "mixed")]
    head, _, *lines = study_tables.excerpt_table(STUDY | {"rows": STUDY["rows"] + more})
    assert "`unknown`" in head and "`bias_95`" in head
    assert lines[0] == "| the real pictures alone | 77 (75–79) | 35 (33–37) | 35 (33–37) | 35 (33–37) |"
    assert "| **and edits** | 90 (88–92) |  |  |  |" in lines
