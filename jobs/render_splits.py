"""Render the splits of emoji world again (needs the Noto Color Emoji font; the shipped ones do not).

python -m jobs.render_splits FOLDER
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from augment.storage.tar import sha256_file
from augment.tiny.dataset import write_splits


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Render the splits of emoji world.")
    parser.add_argument("folder", type=Path, help="where train.tar, val.tar, test.tar and the smaller ones go")
    folder = parser.parse_args().folder
    try:
        counts = write_splits(folder)
    except OSError as error:  # no font, or the folder cannot be written
        sys.exit(f"render_splits: {error}")
    for name, count in counts.items():
        print(f"{folder / name}.tar  {count} records  sha256 {sha256_file(folder / f'{name}.tar')}")


if __name__ == "__main__":
    main()
