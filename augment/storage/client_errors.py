"""What the clients of object stores say in words of their own: that a package is missing, and what a server answered.

None of these packages needs to be there: errors are known by the HTTP status that they carry.
"""

from __future__ import annotations

from typing import Any

_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "az": "az", "abfs": "az", "abfss": "az"}


def is_missing_package(error: Exception, url: str) -> bool:
    """Return whether an error says that the package is not installed that opens such a URL."""
    # fsspec has heard of abfss:// only once adlfs is there.
    unknown = url.partition("://")[0] in _EXTRAS and str(error).startswith("Protocol not known")
    return unknown or isinstance(error, ImportError)


def how_to_install(url: str) -> str:
    """Return what to do where the package is missing that opens such a URL."""
    extra = _EXTRAS.get(url.partition("://")[0])
    return f"pip install 'rnri-augment[{extra}]'" if extra else "install the package it names"


def http_status(error: BaseException | None) -> int:
    """Return the HTTP status that an error of a store's client carries; 0 if it carries none."""
    response: Any = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore
        return _as_status(response.get("ResponseMetadata", {}).get("HTTPStatusCode"))
    for owner, name in ((error, "status"), (error, "status_code"), (error, "code"), (response, "status_code")):
        if status := _as_status(getattr(owner, name, None)):  # in this order: aiohttp warns of `code`
            return status
    return 0


def _as_status(value: Any) -> int:
    text = str(value)
    return int(text) if len(text) == 3 and text.isdecimal() else 0


def is_refused(error: Exception) -> bool:
    """Return whether a server refused a request for want of permission, which no repetition changes."""
    # gcsfs makes a plain OSError of 403; s3fs raises PermissionError by itself.
    return http_status(error) in (401, 403) or (isinstance(error, OSError) and str(error).startswith("Forbidden: "))
