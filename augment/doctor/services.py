"""What a run talks to: the model cache and the hub, Ray, the output's store."""

from __future__ import annotations

import os
import socket
import time
import urllib.error
import urllib.request
import uuid
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import fsspec

from augment.doctor.check import CheckStatus, Finding, gib
from augment.doctor.machine import network_disk, writable
from augment.storage.local_store import LocalStore
from augment.storage.resolve import open_store

_PORTS = {"http": 80, "https": 443, "ray": 10001}
_CLOCKS_APART = 5.0  # seconds, beyond which a clock is wrong and not only read late


def model_cache() -> Finding:
    """Check the folder where models from the hub are kept."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE)
    models = list(folder.glob("models--*"))
    size = sum(blob.stat().st_size for model in models for blob in model.glob("blobs/*"))
    can_write, offline = writable(folder), constants.HF_HUB_OFFLINE
    mode = ("writable" if can_write else "read-only") + (", offline" if offline else "")
    found = f"{folder}: {len(models)} models, {gib(size)}; {mode}"
    if not can_write and not offline:
        advice = (
            "models cannot be downloaded: set HF_HOME to a writable folder, or HF_HUB_OFFLINE=1 to use what is there"
        )
        return Finding(CheckStatus.WARNING, found, advice)
    if kind := network_disk(folder):
        advice = (
            "every worker reads its models over the network when it starts: set HF_HOME to a local disk, and copy the "
            "models there, or allow for slow starts"
        )
        return Finding(CheckStatus.WARNING, f"{found}, on a network disk ({kind})", advice)
    return Finding(CheckStatus.OK, found)


def hub() -> Finding:
    """Check that the hub answers, by way of the proxy if there is one."""
    from huggingface_hub import constants

    start = time.monotonic()
    # Any answer will do, also that this page is not for everybody.
    with suppress(urllib.error.HTTPError):
        urllib.request.urlopen(urllib.request.Request(constants.ENDPOINT, method="HEAD"), timeout=5.0).close()
    return Finding(CheckStatus.OK, f"{constants.ENDPOINT} answers in {time.monotonic() - start:.1f} s")


def ray_token() -> Finding:
    """Check the token that Ray keeps under the home directory, and without which it does not start."""
    if os.environ.get("RAY_AUTH_MODE", "").lower() == "disabled":
        return Finding(CheckStatus.OK, "not used (RAY_AUTH_MODE=disabled)")
    if os.environ.get("RAY_AUTH_TOKEN"):
        return Finding(CheckStatus.OK, "from RAY_AUTH_TOKEN")
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    token = Path(named) if named else Path.home() / ".ray" / "auth_token"
    if token.is_file():
        return Finding(CheckStatus.OK, str(token))
    if named:
        return Finding(CheckStatus.PROBLEM, f"RAY_AUTH_TOKEN_PATH: no file {named}", "unset it, or put the token there")
    if not writable(token):
        advice = "set HOME to a writable folder (a container's user needs a home), or set RAY_AUTH_TOKEN"
        return Finding(CheckStatus.PROBLEM, f"none, and {token} cannot be made", advice)
    return Finding(CheckStatus.OK, f"{token} will be made")


def ray_address() -> Finding:
    """Check that the cluster answers to which `run.address: auto` and `ray job submit` would go."""
    address = os.environ.get("RAY_ADDRESS", "")
    if address in ("", "auto", "local"):
        return Finding(CheckStatus.OK, f"RAY_ADDRESS is {address or 'not set'}")
    parts = urlsplit(address if "://" in address else f"//{address}")
    port = parts.port or _PORTS.get(parts.scheme)
    if not parts.hostname or port is None:
        return Finding(CheckStatus.PROBLEM, f"RAY_ADDRESS={address} has no host and port", "write it as host:6379")
    start = time.monotonic()
    try:
        socket.create_connection((parts.hostname, port), timeout=3.0).close()
    except OSError as error:
        raise OSError(f"RAY_ADDRESS={address} does not answer: {error}") from error
    return Finding(CheckStatus.OK, f"RAY_ADDRESS={address} answers in {(time.monotonic() - start) * 1000:.0f} ms")


def output(out: str) -> Finding:
    """Check that of two who create one file exactly one succeeds; otherwise a unit could count twice."""
    store = open_store(out)
    folders = [store.root / "run", store.root, *store.root.parents] if isinstance(store, LocalStore) else []
    made_here = [folder for folder in folders if not folder.exists()]
    name = f"run/doctor-{uuid.uuid4().hex}"
    start = time.time()
    try:
        created = [store.create(name, b"") for _ in range(2)]
        end = time.time()
        apart = _apart(out, name, start, end)
        store.remove([name])
    finally:
        for folder in made_here:
            with suppress(OSError):  # not made after all, or in use by somebody else meanwhile
                folder.rmdir()
    if created != [True, False]:
        found = f"{out}: two who created one file were answered {created}, not [True, False]"
        return Finding(CheckStatus.PROBLEM, found, "use a disk with hard links, or a store that honours If-None-Match")
    if apart > _CLOCKS_APART:
        advice = "set both by NTP (chrony): to take over from a run elsewhere takes longer, and times in logs deceive"
        found = f"{out}: its clock and this machine's are {apart:.0f} s apart"
        return Finding(CheckStatus.WARNING, found, advice)
    return Finding(
        CheckStatus.OK, f"{out}: reachable and writable, of two who create one file one succeeds; {end - start:.2f} s"
    )


def _apart(out: str, name: str, start: float, end: float) -> float:
    """Return by how many seconds, at least, the clock of a store differs from this machine's; 0 if it cannot be known.

    Args:
        out: the store's path or URL.
        name: of a file that was made there.
        start, end: when it was not there yet, and when it was, by this machine's clock.
    """
    try:
        fs, root = fsspec.core.url_to_fs(out)
        made = fs.modified(f"{root}/{name}").timestamp()
    except Exception:  # a store that keeps no times: its clock does not matter to anybody
        return 0.0
    return float(max(start - made, made - end, 0.0))
