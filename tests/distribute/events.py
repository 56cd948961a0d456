"""A watch that remembers what happened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from augment.distribute.config import Watch


class Events(Watch):
    def __init__(self) -> None:
        self.seen: list[tuple[str, Mapping[str, Any]]] = []

    def event(self, kind: str, content: Mapping[str, Any]) -> None:
        self.seen.append((kind, content))

    @property
    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.seen]
