"""YAML files -> pydantic models, with every problem explained at once."""

from augment.config.load import load_config, resolved_yaml
from augment.config.paths import ExpandedPath, PathText

__all__ = ["ExpandedPath", "PathText", "load_config", "resolved_yaml"]
