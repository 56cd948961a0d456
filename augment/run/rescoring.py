"""Edits that are scored, or made, anew: why, and what becomes of those whose images are not there now."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from augment.errors import InputError
from augment.ledger.plan import Plan, edit_settings, fingerprint_difference, pixel_settings
from augment.types import Source

logger = logging.getLogger(__name__)
_REVISION = "clip.revision"


def settings_to_plan(plan: Plan, settings: Mapping[str, Any], gone: Sequence[Source]) -> dict[str, Any]:
    """Return the settings of the plan that follows one with edits, and say why these are scored or made anew.

    Plans of earlier versions do not say which weights scored their edits, so these are scored anew, lest new edits have
    the scores of other weights. Where images are away that cannot be done: if nothing else has changed, all stays as it
    was until they are back.

    Args:
        plan: that of the folder.
        settings: fingerprint of the job as it is now.
        gone: images with edits that are not there now.

    Raises:
        InputError: if edits of these images would have to be scored or made anew.
    """
    found = dict(settings)
    if gone and _is_unwritten(plan, settings):
        del found[_REVISION]
        logger.warning(
            "the plan is of an earlier version and does not say which weights of %s scored its edits: they are scored "
            "anew once all images are there",
            settings["clip.name"],
        )
    why = "; ".join(fingerprint_difference(edit_settings(plan.fingerprint), edit_settings(found)))
    some = f"{len(gone)} image(s) that have edits are not there now, the first is {gone[0].locator}" if gone else ""
    if gone and why:
        raise InputError(
            f"{some}. With these settings all edits are made or scored anew, which needs them: theirs would be lost. "
            f"Changed since then: {why}. Restore that, make the images readable again, or take them out of the dataset "
            "to drop their edits. Nothing was changed."
        )
    if gone:
        logger.warning("%s: what was made of them stays, what is missing of them fails", some)
    if why:
        same = not fingerprint_difference(pixel_settings(plan.fingerprint), pixel_settings(found))
        logger.warning("all edits are %s anew, because settings have changed: %s", "scored" if same else "made", why)
    return found


def _is_unwritten(plan: Plan, settings: Mapping[str, Any]) -> bool:
    """Return whether the revision of the scorer, which the plan lacks, is all in which settings differ from it."""
    if _REVISION in plan.fingerprint or _REVISION not in settings:
        return False
    known = {key: value for key, value in settings.items() if key != _REVISION}
    return not fingerprint_difference(plan.fingerprint, known)
