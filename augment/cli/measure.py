"""Commands that measure methods and the embedded model, and interpolation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from augment.cli.output import AsJson, Overrides, messages


def benchmark(
    config: Annotated[Path, typer.Argument(help="YAML config, for example configs/benchmark/emoji.yaml")],
    out: Annotated[Path, typer.Option("--out", help="folder for report.json")],
    overrides: Overrides = None,
) -> None:
    """Compare inversion methods on the same images: reconstruction, evaluations, seconds, edits."""
    with messages():
        from augment.config import load_config
        from augment.evaluation.benchmark import BenchmarkConfig, run_benchmark
        from augment.evaluation.tables import markdown_tables
        from augment.storage.local_store import check_local_folder

        check_local_folder(out, "--out")  # before an hour is spent on what cannot be written
        report = run_benchmark(load_config(config, BenchmarkConfig, overrides or []), out)
        print("\n".join(markdown_tables(report)))
        print(f"report          {out / 'report.json'}")


def interpolate(
    config: Annotated[Path, typer.Argument(help="YAML config, for example configs/interpolate/emoji.yaml")],
    overrides: Overrides = None,
) -> None:
    """Make images between pairs of images of a class: a shard, a contact sheet and a report."""
    with messages():
        from augment.run.interpolate import interpolate_dataset, load_interpolate_config, summary_lines

        print("\n".join(summary_lines(interpolate_dataset(load_interpolate_config(config, overrides or [])))))


def rare_concepts(
    config: Annotated[Path, typer.Argument(help="YAML config, for example configs/interpolate/rare.yaml")],
    out: Annotated[Path, typer.Option("--out", help="folder for report.json and rare_concepts.png")],
    overrides: Overrides = None,
) -> None:
    """Make some classes rare for the embedded model, and compare ways to make pictures of them."""
    with messages():
        from augment.config import load_config
        from augment.evaluation.rare_concepts import RareConfig, run_rare_concepts, table_lines
        from augment.storage.local_store import check_local_folder

        check_local_folder(out, "--out")
        print("\n".join(table_lines(run_rare_concepts(load_config(config, RareConfig, overrides or []), out))))
        print(f"report          {out / 'report.json'}")


def evaluate_tiny(
    config: Annotated[
        Path | None, typer.Option("--config", help="expand config whose `editing` section makes the edits")
    ] = None,
    split: Annotated[Literal["val", "test"], typer.Option(help="shipped split")] = "val",
    limit: Annotated[int | None, typer.Option(min=1, help="only the first so many pictures")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure the embedded model: autoencoder, text to image, CLIP, edits, and what is kept of unknown objects."""
    with messages(as_json):
        from augment.editing.config import EditConfig
        from augment.run.config import load_expand_config
        from augment.tiny.quality import measure_shipped_weights

        editing = load_expand_config(config).editing if config else EditConfig()
        quality = measure_shipped_weights(editing, split=split, limit=limit)
        lines = (f"{k:28} {'needs the emoji font' if v is None else f'{v:.4g}'}" for k, v in quality.items())
        print(json.dumps(quality) if as_json else "\n".join(lines))
