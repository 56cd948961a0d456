"""The picture of the README, from two finished folders: two sources of the demo, and an object without a word.

    augment expand configs/expand/emoji.yaml && augment expand configs/expand/emoji_unknown.yaml
    python -m jobs.draw_demo docs/images/demo.png --demo KEY KEY --unknown KEY

Keys are those of the sources (`source_key` in index.parquet).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from augment.dataset.overview import rows_of
from augment.ledger.ledger import Ledger
from augment.report.contact_sheet import contact_sheet


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--demo", nargs="+", required=True, help="keys of sources of --demo-out")
    parser.add_argument("--unknown", nargs="+", required=True, help="keys of sources of --unknown-out")
    parser.add_argument("--demo-out", default="out/demo")
    parser.add_argument("--unknown-out", default="out/unknown")
    arguments = parser.parse_args()
    rows = []
    for out, keys in ((arguments.demo_out, arguments.demo), (arguments.unknown_out, arguments.unknown)):
        rows += [rows_of(Ledger(out), {key}, {})[0] for key in keys]
    arguments.file.write_bytes(contact_sheet(rows, ""))


if __name__ == "__main__":
    main()
