"""The `augment` command. One function per command; anything heavy is imported inside it, so that `--help` is quick.

Exit codes: 0 all is well; 1 the command ran and found problems; 2 the config, the input or the output cannot be used;
130 and 143 stopped by SIGINT and SIGTERM, with everything finished so far kept.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Offline semantic augmentation of image-classification datasets.",
)

PROBLEMS, BAD_INPUT = 1, 2
ConfigFile = Annotated[Path, typer.Argument(help="YAML config, for example configs/expand/emoji.yaml")]
Output = Annotated[Path, typer.Argument(help="output folder of `augment expand`")]
Overrides = Annotated[list[str] | None, typer.Option("-o", help="override: dotted.key=value, repeatable")]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object instead of text")]


@app.callback()
def _main() -> None:
    """Offline semantic augmentation of image-classification datasets."""


@contextlib.contextmanager
def _messages() -> Iterator[None]:
    """Errors that are the user's to solve as one message on stderr; everything else keeps its traceback."""
    try:
        yield
    except KeyboardInterrupt:
        _fail("stopped by SIGINT", 130)
    except (ValueError, OSError, RuntimeError) as error:
        # The errors made for users are ValueErrors, or RuntimeErrors, of our own modules; a bug's error is not.
        if not isinstance(error, OSError) and type(error).__module__.split(".")[0] not in ("augment", "jobs"):
            raise
        _fail(str(error), BAD_INPUT)
    except BaseException as error:
        signum = getattr(error, "signum", None)  # of augment.distribute.Interrupted, which is not imported for --help
        if signum is None:
            raise
        _fail(f"{error}; finished units are kept, the same command goes on from here", 128 + signum)


def _fail(message: str, code: int) -> None:
    print(f"error: {message}" if code <= BAD_INPUT else message, file=sys.stderr)
    raise typer.Exit(code)


@app.command()
def expand(config: ConfigFile, overrides: Overrides = None) -> None:
    """Make edits of a dataset: plan, edit, publish shards. Run it again and it goes on where it stopped."""
    with _messages():
        from jobs.expand import expand as run
        from jobs.expand import load_expand_config

        summary = run(load_expand_config(config, overrides or []), report=_progress)
        print("\n".join(summary.lines()), flush=True)
        if summary.manifest["failed"] == summary.manifest["planned"]:
            _fail(f"every edit failed; the reasons are in {summary.out / 'index.parquet'}", PROBLEMS)
        if lost := summary.manifest["reasons"].get("failed: worker"):
            _fail(
                f"{lost} edits were given up because no worker survived their units; the reasons are in "
                f"{summary.out / 'index.parquet'} (stage `worker`). To try again, delete the files in "
                f'{summary.out / "commits"} that have "edited": 0, and run the same command',
                PROBLEMS,
            )


@app.command()
def finalize(
    out: Output,
    config: Annotated[Path | None, typer.Option("--config", help="take thresholds from this config")] = None,
    overrides: Overrides = None,
) -> None:
    """Publish an output folder again under other thresholds (-o filters.min_label_probability=0.8), or repair it.

    No GPU needed.
    """
    with _messages():
        from jobs.expand import finalize as run

        print("\n".join(run(out, overrides or [], config).lines()))


@app.command()
def verify(out: Output, as_json: AsJson = False) -> None:
    """Check an output folder: tars, hashes, schema, pictures, and that planned = accepted + rejected + failed."""
    with _messages():
        from augment.data.verify import verify as run
        from augment.overview import FILES

        result = run(out, FILES)
        if as_json:
            print(json.dumps(result.as_dict()))
        else:
            print(
                f"{result.planned} planned = {result.accepted} accepted + {result.rejected} rejected + "
                f"{result.failed} failed; {result.shards} shards; {len(result.problems)} problems"
            )
            print("\n".join(result.problems), file=sys.stderr, end="\n" if result.problems else "")
        if not result.ok:
            raise typer.Exit(PROBLEMS)


@app.command()
def benchmark(
    config: Annotated[Path, typer.Argument(help="YAML config, for example configs/benchmark/emoji.yaml")],
    out: Annotated[Path, typer.Option("--out", help="folder for report.json")],
    overrides: Overrides = None,
) -> None:
    """Compare inversion methods on the same images: reconstruction, evaluations, seconds, edits."""
    with _messages():
        from augment.config import load_config
        from jobs.benchmark import BenchmarkConfig, run, table_lines

        report = run(load_config(config, BenchmarkConfig, overrides or []), out)
        print("\n".join(table_lines(report)))
        print(f"report          {out / 'report.json'}")


@app.command()
def interpolate(config: ConfigFile, overrides: Overrides = None) -> None:
    """Make images between pairs of images of a class: a shard, a contact sheet and a report."""
    with _messages():
        from jobs.interpolate import load_interpolate_config, run, summary_lines

        print("\n".join(summary_lines(run(load_interpolate_config(config, overrides or [])))))


@app.command("rare-concepts")
def rare_concepts(
    config: Annotated[Path, typer.Argument(help="YAML config, for example configs/interpolate/rare.yaml")],
    out: Annotated[Path, typer.Option("--out", help="folder for report.json and rare_concepts.png")],
    overrides: Overrides = None,
) -> None:
    """Make some classes rare for the embedded model, and compare ways to get pictures of them nevertheless."""
    with _messages():
        from augment.config import load_config
        from jobs.rare_concepts import RareConfig, run, table_lines

        print("\n".join(table_lines(run(load_config(config, RareConfig, overrides or []), out))))
        print(f"report          {out / 'report.json'}")


@app.command("evaluate-tiny")
def evaluate_tiny(
    config: Annotated[
        Path | None, typer.Option("--config", help="expand config whose `editing` section makes the edits")
    ] = None,
    split: Annotated[Literal["val", "test"], typer.Option(help="shipped split")] = "val",
    limit: Annotated[int | None, typer.Option(min=1, help="only the first so many pictures")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure the embedded model: autoencoder, text to image, CLIP and background edits."""
    with _messages():
        from dataclasses import asdict

        from augment.edit_config import EditConfig
        from jobs.evaluate_tiny import run
        from jobs.expand import load_expand_config

        editing = load_expand_config(config).editing if config else EditConfig()
        quality = asdict(run(editing, split=split, limit=limit))
        print(json.dumps(quality) if as_json else "\n".join(f"{k:28} {v:.4g}" for k, v in quality.items()))


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    app()
