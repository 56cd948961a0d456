"""The `augment` command. One function per command; anything heavy is imported inside it, so that `--help` is quick.

Exit codes: 0 all is well; 1 the command ran and found problems; 2 the config, the input or the output cannot be used;
3 more failed than the budget allows; 130 and 143 stopped by SIGINT and SIGTERM, with everything finished so far kept.
What programs read is on stdout; progress, warnings and errors are on stderr. See docs/commands.md.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

if TYPE_CHECKING:
    from augment.report.progress import RunProgress

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Offline semantic augmentation of image-classification datasets.",
)

PROBLEMS, BAD_INPUT, OVER_BUDGET = 1, 2, 3
ConfigFile = Annotated[Path, typer.Argument(help="YAML config, for example configs/expand/emoji.yaml")]
Output = Annotated[str, typer.Argument(help="output folder of `augment expand`, or its URL (s3://...)")]
Overrides = Annotated[list[str] | None, typer.Option("-o", help="override: dotted.key=value, repeatable")]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object instead of text, errors too")]


@app.callback()
def _main() -> None:
    """Offline semantic augmentation of image-classification datasets."""


@contextlib.contextmanager
def _messages(as_json: bool = False) -> Iterator[None]:
    """Errors that are the user's to solve as one message; everything else keeps its traceback."""
    try:
        yield
    except KeyboardInterrupt:
        _fail("stopped by SIGINT", 130, as_json)
    except (ValueError, OSError, RuntimeError) as error:
        # The errors made for users are ValueErrors, or RuntimeErrors, of our own modules; a bug's error is not.
        if not isinstance(error, OSError) and type(error).__module__.split(".")[0] not in ("augment", "jobs"):
            raise
        _fail(str(error), OVER_BUDGET if type(error).__name__ == "BudgetExceeded" else BAD_INPUT, as_json)
    except BaseException as error:
        signum = getattr(error, "signum", None)  # of augment.distribute.Interrupted, which is not imported for --help
        if signum is None:
            raise
        _fail(f"{error}; finished units are kept, the same command goes on from here", 128 + signum, as_json)


def _fail(message: str, code: int, as_json: bool) -> NoReturn:
    if as_json:
        print(json.dumps({"error": message, "exit_code": code}), flush=True)
    else:
        print(f"error: {message}" if code <= OVER_BUDGET else message, file=sys.stderr)
    raise typer.Exit(code)


def _show(
    content: dict[str, Any], lines: list[str], as_json: bool, problems: Iterable[str] = (), code: int = PROBLEMS
) -> None:
    """Print a result; leave with `code` if there are problems, which `content` has in it already."""
    found = list(problems)
    if as_json or lines:
        print(json.dumps(content) if as_json else "\n".join(lines), flush=True)
    if found:
        if not as_json:
            print("\n".join(found), file=sys.stderr)
        raise typer.Exit(code)


def _display(progress: RunProgress) -> contextlib.AbstractContextManager[Callable[[], None]]:
    from augment.report.progress import display

    return display(progress, sys.stderr)


@app.command()
def validate(config: ConfigFile, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Find everything that is wrong with a config, its prompts, its input and its output, in a second."""
    with _messages(as_json):
        from jobs.validate import validate as run

        result = run(config, overrides or [])
        problems = [f"error: {problem}" for problem in result.problems]
        _show(result.as_dict(), result.lines(), as_json, problems, BAD_INPUT)


@app.command()
def plan(
    config: ConfigFile,
    overrides: Overrides = None,
    price: Annotated[
        float | None, typer.Option("--price-per-gpu-hour", min=0, help="in any currency, to reckon the whole price")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Count what a run would do, and what it would take: disk, hours and price at the speed of the last preview."""
    with _messages(as_json):
        from augment.job import load_expand_config
        from jobs.plan import plan as run

        result = run(load_expand_config(config, overrides or []), price)
        _show(result.as_dict(), result.lines(), as_json)


@app.command()
def preview(
    config: ConfigFile,
    count: Annotated[int, typer.Option("-n", min=1, help="images, spread over the dataset")] = 12,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Edit a few images, in OUTPUT/preview: a contact sheet to look at, and the speed that `plan` reckons with."""
    with _messages(as_json):
        from augment.job import load_expand_config
        from jobs.preview import preview as run

        result = run(load_expand_config(config, overrides or []), count, _display)
        _show(result.as_dict(), result.lines(), as_json, [f"error: {problem}" for problem in result.problems])


@app.command()
def expand(
    config: ConfigFile,
    overrides: Overrides = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="make units anew in which something failed, quarantined inputs too")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make edits of a dataset: plan, edit, publish shards. Run it again and it goes on where it stopped."""
    with _messages(as_json):
        from augment.report.outcome import counts, problems
        from jobs.expand import expand as run
        from jobs.expand import load_expand_config

        summary = run(load_expand_config(config, overrides or []), display=_display, retry_failed=retry_failed)
        found = problems(summary.manifest, summary.out)
        made = {"edits_made": summary.edits_made, "seconds": summary.seconds, "problems": found}
        content = {"out": summary.out, **counts(summary.manifest), **made}
        _show(content, summary.lines(), as_json, [f"error: {problem}" for problem in found])


@app.command()
def status(out: Output, as_json: AsJson = False) -> None:
    """Say how far a run is: while it is at work, after it was stopped, when it is done."""
    with _messages(as_json):
        from jobs.status import status as run

        result = run(out)
        _show(result.as_dict(), result.lines(), as_json)


@app.command()
def finalize(
    out: Output,
    config: Annotated[Path | None, typer.Option("--config", help="take thresholds from this config")] = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Publish an output folder again under other thresholds (-o filters.min_label_probability=0.8), or repair it.

    No GPU needed.
    """
    with _messages(as_json):
        from augment.report.outcome import counts
        from jobs.expand import finalize as run

        summary = run(out, overrides or [], config)
        _show({"out": summary.out, **counts(summary.manifest)}, summary.lines(), as_json)


@app.command()
def verify(out: Output, as_json: AsJson = False) -> None:
    """Check an output folder: tars, hashes, schema, pictures, and that planned = accepted + rejected + failed."""
    with _messages(as_json):
        from augment.data.verify import verify as run
        from augment.overview import FILES

        result = run(out, FILES)
        line = (
            f"{result.planned} planned = {result.accepted} accepted + {result.rejected} rejected + "
            f"{result.failed} failed; {result.shards} shards; {len(result.problems)} problems"
        )
        _show(result.as_dict(), [line], as_json, result.problems)


@app.command()
def doctor(
    out: Annotated[str | None, typer.Argument(help="output folder or URL, to be tried with a small file")] = None,
    online: Annotated[bool, typer.Option("--online", help="also ask whether the Hugging Face hub answers")] = False,
    as_json: AsJson = False,
) -> None:
    """Check this machine: versions, GPU, memory, disk, caches, Ray, and pairs of packages known not to work."""
    with _messages(as_json):
        from augment.doctor import diagnose, lines

        result = diagnose(out, online)
        _show(result.as_dict(), lines(result), as_json)
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
def interpolate(
    config: Annotated[Path, typer.Argument(help="YAML config, for example configs/interpolate/emoji.yaml")],
    overrides: Overrides = None,
) -> None:
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
    with _messages(as_json):
        from dataclasses import asdict

        from augment.edit_config import EditConfig
        from jobs.evaluate_tiny import run
        from jobs.expand import load_expand_config

        editing = load_expand_config(config).editing if config else EditConfig()
        quality = asdict(run(editing, split=split, limit=limit))
        print(json.dumps(quality) if as_json else "\n".join(f"{k:28} {v:.4g}" for k, v in quality.items()))


if __name__ == "__main__":
    app()
