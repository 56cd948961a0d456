"""Settings every test runs under: no network, no telemetry, one thread per process. Nothing heavy is imported here."""

from __future__ import annotations

import os

pytest_plugins = [
    "tests.emoji_font",
    "tests.groups",
    "tests.local_ray",
    "tests.object_store",
    "tests.own_log",
    "tests.emulators",
]

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# Read by torch when it is imported: tests compare floats, and several processes share two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
