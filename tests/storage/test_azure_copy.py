"""The wait for a copy on Azure, against an account that answers as it is told."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from fsspec.asyn import get_loop

from augment.storage import azure_copy
from augment.storage.azure_copy import wait_for_copy


class Account:
    """The part of adlfs's file system that is asked, with a status for each look at the copy; the last one stays."""

    def __init__(self, *statuses: str) -> None:
        self.loop, self.service_client = get_loop(), self
        self.statuses, self.looks = list(statuses), 0
        self.aborted: list[str] = []

    def get_blob_client(self, container: str, blob: str) -> Account:
        assert (container, blob) == ("container", "folder/name")
        return self

    async def __aenter__(self) -> Account:
        return self

    async def __aexit__(self, *error: Any) -> None:
        pass

    async def get_blob_properties(self) -> SimpleNamespace:
        status = self.statuses[min(self.looks, len(self.statuses) - 1)]
        self.looks += 1
        return SimpleNamespace(copy=SimpleNamespace(id="a-copy", status=status, status_description="said so"))

    async def abort_copy(self, copy_id: str) -> None:
        self.aborted.append(copy_id)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(azure_copy, "_SECONDS", 0.001)


def test_a_copy_is_waited_for() -> None:
    account = Account("pending", "pending", "success")
    wait_for_copy(account, "container/folder/name")
    assert account.looks == 3


def test_a_copy_that_fails_is_an_error() -> None:
    with pytest.raises(OSError, match="container/folder/name: the copy ended as aborted: said so"):
        wait_for_copy(Account("pending", "aborted"), "container/folder/name")


def test_a_copy_that_does_not_end_is_not_waited_for_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(azure_copy, "LIMIT_SECONDS", 0.05)
    account = Account("pending")
    with pytest.raises(TimeoutError, match="Azure has not ended the copy within 0 s"):
        wait_for_copy(account, "container/folder/name")
    assert account.aborted == ["a-copy"]
