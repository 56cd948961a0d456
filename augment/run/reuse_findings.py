"""The other output folders whose edits a run is to take over: whether they are there, and can be of use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from augment.errors import OutputError
from augment.inputs.locate import absolute
from augment.ledger.ledger import Ledger
from augment.ledger.plan import Plan, fingerprint_difference, pixel_settings
from augment.prompts import PromptSource
from augment.run.config import ExpandConfig, fingerprint, output_url
from augment.run.moved_models import as_planned


def reuse_findings(
    config: ExpandConfig, planner: PromptSource, class_names: Mapping[int, str]
) -> tuple[list[str], list[str]]:
    """Return what is wrong with the folders of `reuse`, and what is pointed out of them.

    A run that has all its edits needs none of them, so there they may be gone.

    Args:
        config: with its models pinned to revisions.
        planner: where the prompts come from.
        class_names: label -> word, of the whole dataset.
    """
    problems: list[str] = []
    warnings: list[str] = []
    if not config.reuse:
        return problems, warnings
    own = _own_plan(config)
    now = fingerprint(config, planner, [], class_names)
    wanted = pixel_settings(as_planned(now, own.fingerprint if own else {}))  # what reports are compared with
    for url, plan in _plans(config):
        if isinstance(plan, str):
            problems.append(plan)
        elif difference := fingerprint_difference(pixel_settings(plan.fingerprint), wanted):
            warnings.append(
                f"reuse: no edit of the plan in {url} can be taken over, because it was made with other settings: "
                f"{'; '.join(difference)}"
            )
    if problems and own and _is_finished(config, own):
        return [], [*problems, *warnings]
    return problems, warnings


def check_reuse(config: ExpandConfig) -> None:
    """Raise OutputError if a folder of `reuse` has no plan, or one that cannot be read; before a plan is written."""
    if problems := [plan for _, plan in _plans(config) if isinstance(plan, str)]:
        raise OutputError("\n".join(problems))


def _plans(config: ExpandConfig) -> Iterator[tuple[str, Plan | str]]:
    """Yield the folders of `reuse` but the job's own, each with its plan, or with what is wrong with it."""
    own = output_url(config).rstrip("/")  # whose edits are taken over anyway, and which may have no plan yet
    for url in map(absolute, config.reuse):
        if url.rstrip("/") != own:
            yield url, _plan_of(url)


def _plan_of(url: str) -> Plan | str:
    try:
        plan = Ledger(url).read_plan()
    except OutputError as error:
        return f"reuse: {error}"
    except Exception as error:  # object stores have errors of their own for missing buckets and credentials
        return f"reuse: {url} cannot be read ({type(error).__name__}: {error})"
    return plan or (
        f"reuse: {url} has no plan/plan.json: it is no output folder of `augment expand`. Correct the path, or "
        "leave it out"
    )


def _own_plan(config: ExpandConfig) -> Plan | None:
    """Return the plan of the job's own output; None if there is none, or what is there is for others to complain of."""
    plan = _plan_of(output_url(config))
    return None if isinstance(plan, str) else plan


def _is_finished(config: ExpandConfig, own: Plan) -> bool:
    """Return whether all units of the plan are done."""
    return {f"{unit_id}.json" for unit_id in own.unit_ids} <= {
        name.removeprefix("commits/") for name in Ledger(output_url(config)).store.list("commits")
    }
