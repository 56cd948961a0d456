"""The other output folders whose edits a run is to take over: whether they are there, and can be of use."""

from __future__ import annotations

from collections.abc import Mapping

from augment.errors import OutputError
from augment.inputs.locate import absolute
from augment.ledger.ledger import Ledger
from augment.ledger.plan import fingerprint_difference, pixel_settings
from augment.prompts import PromptSource
from augment.run.config import ExpandConfig, fingerprint


def reuse_findings(
    config: ExpandConfig, planner: PromptSource, class_names: Mapping[int, str]
) -> tuple[list[str], list[str]]:
    """Return what is wrong with the folders of `reuse`, and what is pointed out of them.

    Args:
        config: with its models pinned to revisions.
        planner: where the prompts come from.
        class_names: label -> word, of the whole dataset.
    """
    problems, warnings = [], []
    for out in config.reuse:
        url = absolute(out)
        try:
            plan = Ledger(url).read_plan()
        except OutputError as error:
            problems.append(f"reuse: {error}")
            continue
        except Exception as error:  # object stores have errors of their own for missing buckets and credentials
            problems.append(f"reuse: {url} cannot be read ({type(error).__name__}: {error})")
            continue
        if plan is None:
            problems.append(
                f"reuse: {url} has no plan/plan.json: it is no output folder of `augment expand`. Correct the path, or "
                "leave it out"
            )
            continue
        wanted = pixel_settings(fingerprint(config, planner, [], class_names))
        if difference := fingerprint_difference(pixel_settings(plan.fingerprint), wanted):
            warnings.append(
                f"reuse: no edit of the plan in {url} can be taken over, because it was made with other settings: "
                f"{'; '.join(difference)}"
            )
    return problems, warnings
