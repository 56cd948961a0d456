from __future__ import annotations

from tests.object_store import faults, object_store

__all__ = ["faults", "object_store"]
