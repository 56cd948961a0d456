"""Commands of the main job: before it, the job itself, and what can be done with its output."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Annotated

import typer

from augment.cli.output import AsJson, Output, Overrides, live_display, messages, show, warn
from augment.cli.start import ConfigOrNone, Data, Model, job_config
from augment.errors import AugmentError, ConfigError


def validate(
    config: ConfigOrNone = None,
    data: Data = None,
    model: Model = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Find everything that is wrong with a config, its prompts, its input and its output, in seconds.

    What is odd but does not stop a run is said as a warning: prompts that are cut, class names that are no words, one
    picture in two classes.
    """
    with messages(as_json):
        from augment.run.validate import validate as run
        from augment.run.validate import validate_config

        if config is not None and data is None and model is None:
            result = run(config, overrides or [])
        else:
            result = validate_config(job_config(config, data, model, overrides, as_json))
        problems = [f"error: {problem}" for problem in result.problems]
        warn(result.warnings, as_json)
        show(result.as_dict(), result.lines(), as_json, problems, AugmentError.exit_code)


def plan(
    config: ConfigOrNone = None,
    data: Data = None,
    model: Model = None,
    overrides: Overrides = None,
    price: Annotated[
        float | None,
        typer.Option("--price-per-gpu-hour", min=0, help="in any currency, for the price of the whole run"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Count what a run would do, and what it would take: disk, hours and price at the speed of the last preview."""
    with messages(as_json):
        from augment.run.dry_run import dry_run

        result = dry_run(job_config(config, data, model, overrides, as_json), price)
        show(result.as_dict(), result.lines(), as_json)


def prompts(
    config: ConfigOrNone = None,
    data: Data = None,
    model: Model = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Write the prompts of a run into OUTPUT/prompts/prompts.csv, to be looked at and edited before GPU time is spent.

    `expand` then reads them from there. With the section `llm` a language model varies them, with `caption` a model
    describes the images without a caption. Run it again and it goes on where it stopped, and keeps what was edited.
    """
    with messages(as_json):
        from augment.run.prompt_stage import make_prompts

        def say(line: str) -> None:
            print(line, file=sys.stderr, flush=True)

        result = make_prompts(job_config(config, data, model, overrides, as_json), say=say)
        warn(result.warnings, as_json)
        show(result.as_dict(), result.lines(), as_json)


def preview(
    config: ConfigOrNone = None,
    count: Annotated[int, typer.Option("-n", min=1, help="images, spread over the classes")] = 12,
    data: Data = None,
    model: Model = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Edit a few images, in OUTPUT/preview: a contact sheet to look at, and the speed that `plan` uses."""
    with messages(as_json):
        from augment.run.preview import preview as run

        result = run(job_config(config, data, model, overrides, as_json), count, live_display)
        show(result.as_dict(), result.lines(), as_json, [f"error: {problem}" for problem in result.problems])


def tune(
    config: ConfigOrNone = None,
    images: Annotated[int, typer.Option("--images", min=2, help="to edit, spread over the classes")] = 24,
    strengths: Annotated[
        str | None, typer.Option("--strengths", help="to try, such as 0.5,0.7,0.9; 0.4 to 1 if not given")
    ] = None,
    guidance: Annotated[
        str | None, typer.Option("--guidance", help="scales to try, such as 2,4; some around the config's if not given")
    ] = None,
    data: Data = None,
    model: Model = None,
    overrides: Overrides = None,
    write: Annotated[
        bool, typer.Option("--write", help="write the recommended setting into CONFIG; what -o says is not written")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Find strength and guidance on a few images: edits under a grid of both, a table, and a recommended setting.

    The report and a contact sheet are in OUTPUT/tune. Without --write no config is changed.
    """
    with messages(as_json):
        from augment.run.tune import check_editable, write_setting
        from augment.run.tune import tune as run

        wanted = _numbers("--strengths", strengths, 0.0, 1.0), _numbers("--guidance", guidance, 1.0, math.inf)
        loaded = job_config(config, data, model, overrides, as_json)
        if write:
            if config is None:
                raise ConfigError(
                    "the command line", ["--write needs a config file to write into; `augment init` makes one"]
                )
            check_editable(config)  # before minutes are spent
        result = run(
            loaded,
            images,
            strengths=wanted[0],
            guidance_scales=wanted[1],
            say=lambda line: print(line, file=sys.stderr, flush=True),
        )
        lines, written = result.lines(), False
        if write and config is not None:
            written = write_setting(config, result.recommended.setting)
            lines.append(f"written         {config}{'' if written else ' has this setting already'}")
        show(result.as_dict() | {"written": written}, lines, as_json)


def _numbers(option: str, text: str | None, least: float, most: float) -> tuple[float, ...]:
    """Return the numbers in a list with commas, () for none. Raises ConfigError for what is none, or out of range."""
    try:
        numbers = tuple(float(part) for part in text.split(",")) if text is not None else ()
    except ValueError:
        numbers = (math.nan,)
    if all(least <= number <= most and 0.0 < number < math.inf for number in numbers):
        return numbers
    allowed = f"above {least:g} and at most {most:g}" if least == 0.0 else f"of at least {least:g}"
    raise ConfigError("the command line", [f"{option} {text}: must be numbers {allowed}, with commas between"])


def expand(
    config: ConfigOrNone = None,
    data: Data = None,
    model: Model = None,
    overrides: Overrides = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="try failed edits again, quarantined inputs too")
    ] = False,
    retry_stage: Annotated[
        list[str] | None,
        typer.Option(
            "--retry-stage",
            metavar="STAGE",
            help="as --retry-failed, in units with failures at this stage (`read`, say); repeatable",
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="make all edits again if a setting that changes their pixels has changed")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make edits of a dataset: plan, edit, publish shards. Run it again and it goes on where it stopped.

    Images, classes, prompts and variants may have changed since: only what is new is made.
    """
    with messages(as_json):
        from augment.report.outcome import counts, problems
        from augment.run.expand import expand as run

        retry = retry_failed or _stages(retry_stage or [])
        loaded = job_config(config, data, model, overrides, as_json)
        summary = run(loaded, display=live_display, retry_failed=retry, replace=replace)
        found = problems(summary.manifest, summary.out)
        made = {"edits_made": summary.edits_made, "seconds": summary.seconds, "problems": found}
        content = {"out": summary.out, **counts(summary.manifest), **made}
        show(content, summary.lines(), as_json, [f"error: {problem}" for problem in found])


def _stages(named: list[str]) -> list[str]:
    """Return the stages named. Raises ConfigError for one that there is not."""
    from augment.dataset.record import STAGES

    if unknown := [stage for stage in named if stage not in STAGES]:
        raise ConfigError(
            "the command line", [f"--retry-stage {unknown[0]}: there is no such stage; there are {', '.join(STAGES)}"]
        )
    return named


def status(out: Output, as_json: AsJson = False) -> None:
    """Say how far a run is: while it is at work, after it was stopped, when it is done."""
    with messages(as_json):
        from augment.run.status import status as run

        result = run(out)
        show(result.as_dict(), result.lines(), as_json)


def finalize(
    out: Output,
    config: Annotated[Path | None, typer.Option("--config", help="take thresholds from this config")] = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Publish an output folder again under other thresholds (-o filters.min_label_probability=0.8), or repair it.

    No GPU needed.
    """
    with messages(as_json):
        from augment.report.outcome import counts, problems
        from augment.run.finalize import finalize as run

        summary = run(out, overrides or [], config)
        found = problems(summary.manifest, summary.out)
        content = {"out": summary.out, **counts(summary.manifest), "problems": found}
        show(content, summary.lines(), as_json, [f"error: {problem}" for problem in found])


def verify(out: Output, as_json: AsJson = False) -> None:
    """Check an output folder: tars, hashes, schema, pictures, and that planned = accepted + rejected + failed."""
    with messages(as_json):
        from augment.dataset.overview import FILES
        from augment.dataset.verify import verify as run

        result = run(out, FILES)
        line = (
            f"{result.planned} planned = {result.accepted} accepted + {result.rejected} rejected + "
            f"{result.failed} failed; {result.shards} shards; {len(result.problems)} problems"
        )
        show(result.as_dict(), [line], as_json, result.problems)
