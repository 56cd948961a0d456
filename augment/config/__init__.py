"""YAML files -> pydantic models, with every problem explained at once."""

from augment.config.explain import KeyPath
from augment.config.load import inline_yaml, load_config, parse_config, resolved_yaml
from augment.config.paths import ExpandedPath, PathText
from augment.config.places import folder_of_key
from augment.config.rewrite import with_values

__all__ = [
    "ExpandedPath",
    "KeyPath",
    "PathText",
    "folder_of_key",
    "inline_yaml",
    "load_config",
    "parse_config",
    "resolved_yaml",
    "with_values",
]
