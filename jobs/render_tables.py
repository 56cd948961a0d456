"""Write the tables of the documentation from the reports of the benchmarks.

    augment benchmark configs/benchmark/emoji.yaml --out out/benchmark    # and so on, see REPORTS
    augment study configs/study/emoji.yaml --out out/study
    python -m jobs.render_tables [--reports out] [--check]

A table stands in a page of PAGES between `<!-- table: NAME -->` and `<!-- end -->`. A table whose report is not there
stays as it is. The prose around the tables is for a person to read again.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from augment.evaluation import instance_tables
from augment.evaluation import page_tables as tables
from augment.study import page_tables as study_tables
from augment.study.config import ALL_TRACKS

ROOT = Path(__file__).parent.parent
PAGES = ("docs/inversion.md", "docs/emoji_world.md", "docs/study.md", "README.md")
Reports = Mapping[str, dict[str, Any]]
REPORTS = (
    "",
    "_50",
    "_ablation",
    "_guidance",
    "_lcm",
    "_editing_lcm",
    "_editing",
    "_throughput",
    "_unknown",
    "_instance",
    "_instance_lcm",
    "_instance_solvers",
)

STUDY = "study"

# Name of a table -> the reports it needs, by the end of their folder's name, and what makes it of them.
TABLES: dict[str, tuple[tuple[str, ...], Callable[..., list[str]]]] = {
    "starts": (("", "_50"), tables.starts),
    "starts-excerpt": (("", "_50"), tables.starts_excerpt),
    "latents": (("",), tables.inverted_latents),
    "ablation": (("_ablation",), tables.ablation),
    "guidance": (("_guidance",), tables.guided_inversion),
    "euler-ancestral": (("_lcm",), tables.student_euler_ancestral),
    "lcm": (("_lcm",), tables.student_lcm),
    "editing-lcm": (("_editing_lcm",), tables.editing_lcm),
    "editing": (("_editing",), tables.editing),
    "throughput": (("_throughput",), tables.throughput),
    "unknown": (("_unknown",), instance_tables.unknown_objects),
    "instance": (("_instance",), instance_tables.named_objects),
    "instance-solvers": (("_instance_solvers",), instance_tables.solvers),
    "instance-lcm": (("_instance_lcm",), instance_tables.students),
    "instance-tracks": (("_instance",), instance_tables.tracks),
    "instance-excerpt": (("_instance",), instance_tables.excerpt),
    "study-budget": ((STUDY,), study_tables.budget_table),
    "study-excerpt": ((STUDY,), study_tables.excerpt_table),
    **{
        f"study-{track.replace('_', '-')}": ((STUDY,), partial(study_tables.track_table, track=track))
        for track in ALL_TRACKS
    },
}


def read_reports(folder: Path) -> Reports:
    """Return the reports that are there, by what their folder is called: `_50` for `benchmark_50`; `study`."""
    paths = {end: folder / f"benchmark{end}" / "report.json" for end in REPORTS}
    paths[STUDY] = folder / STUDY / "report.json"
    return {end: json.loads(path.read_text()) for end, path in paths.items() if path.exists()}


def rendered(text: str, reports: Reports) -> str:
    """Return a page with its tables made anew, as far as there are reports for them.

    Raises:
        ValueError: for a table that nobody makes.
    """

    def table(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in TABLES:
            raise ValueError(f"table {name!r} is not one of {', '.join(TABLES)}")
        needed, make = TABLES[name]
        if any(end not in reports for end in needed):
            return match.group(0)
        lines: Sequence[str] = make(*(reports[end] for end in needed))
        if not lines:  # the report is of other tracks
            return match.group(0)
        return "\n".join([f"<!-- table: {name} -->", "", *lines, "", "<!-- end -->"])

    return re.sub(r"<!-- table: ([\w-]+) -->.*?<!-- end -->", table, text, flags=re.DOTALL)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reports", type=Path, default=Path("out"), help="folder of the folders benchmark, ...")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a table is not that of its report")
    arguments = parser.parse_args()
    reports = read_reports(arguments.reports)
    stale = []
    for page in PAGES:
        before = (ROOT / page).read_text()
        after = rendered(before, reports)
        if after != before:
            stale.append(page)
            if not arguments.check:
                (ROOT / page).write_text(after)
    print(f"{len(reports)} reports; {', '.join(stale) or 'nothing'} {'is old' if arguments.check else 'changed'}")
    if stale and arguments.check:
        sys.exit(1)


if __name__ == "__main__":
    main()
