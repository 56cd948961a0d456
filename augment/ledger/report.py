"""Reports of units as the ledger stores them: one JSON object, whose fields are those of `UnitReport`."""

from __future__ import annotations

import dataclasses
import json

from augment.errors import OutputError
from augment.types import UnitReport

_KINDS: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "int": int,
    "float": (int, float),
    "dict[str, float]": dict,
    "dict[str, int]": dict,
}


def report_to_json(report: UnitReport) -> bytes:
    """Return the content of a commit, one line of JSON with sorted keys."""
    return (json.dumps(dataclasses.asdict(report), sort_keys=True) + "\n").encode()


def report_from_json(path: str, data: bytes) -> UnitReport:
    """Return the report that a commit holds.

    Args:
        path: where the commit lies, for the message of an error.
        data: its content.

    Raises:
        OutputError: if the content is no report.
    """
    try:
        report = UnitReport(**json.loads(data))
        for field in dataclasses.fields(report):
            if not isinstance(value := getattr(report, field.name), _KINDS[str(field.type)]):
                raise TypeError(f"{field.name} is {value!r}")
    except (ValueError, TypeError) as error:
        raise OutputError(
            f"{path} is not readable ({type(error).__name__}: {error}). Delete it and run `augment expand` again: it "
            "redoes that unit."
        ) from error
    return report
