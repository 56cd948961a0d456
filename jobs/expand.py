"""The main job: a dataset and a config -> shards of edits.

augment expand configs/expand/emoji.yaml
"""

from __future__ import annotations

from augment.expansion import Summary, expand, finalize
from augment.job import ExpandConfig, load_expand_config

__all__ = ["ExpandConfig", "Summary", "expand", "finalize", "load_expand_config"]
