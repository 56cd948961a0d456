"""Copies on Azure, which may go on after the answer to the request."""

from __future__ import annotations

import time
from typing import Any

from fsspec.asyn import sync

_SECONDS = 0.1  # before the first look; each next one comes twice as late, at most 50 times this
LIMIT_SECONDS = 600.0  # a copy within an account is a matter of seconds; Azure itself gives one up after two weeks


def wait_for_copy(fs: Any, path: str) -> None:
    """Return when an object is there that was copied by `fs.cp_file`: its source may be removed only then.

    Args:
        fs: the file system of adlfs, which tells nobody how far a copy is.
        path: of the copy, `CONTAINER/NAME`.

    Raises:
        OSError: if the copy failed, was aborted, or is not there within `LIMIT_SECONDS`.
    """
    container, _, name = path.partition("/")

    async def properties() -> Any:
        async with fs.service_client.get_blob_client(container=container, blob=name) as client:
            return await client.get_blob_properties()

    async def abort(copy_id: str) -> None:
        async with fs.service_client.get_blob_client(container=container, blob=name) as client:
            await client.abort_copy(copy_id)

    seconds, began = _SECONDS, time.monotonic()
    while (copy := sync(fs.loop, properties).copy).status == "pending":
        if time.monotonic() - began > LIMIT_SECONDS:
            sync(fs.loop, abort, copy.id)  # it must not come into place later, when nobody waits for it
            raise TimeoutError(f"{path}: Azure has not ended the copy within {LIMIT_SECONDS:.0f} s")
        time.sleep(seconds)
        seconds = min(2 * seconds, 50 * _SECONDS)
    if copy.status != "success":
        raise OSError(f"{path}: the copy ended as {copy.status}: {copy.status_description}")
