"""YAML files -> pydantic models, with every problem explained at once."""

from augment.config.load import load_config, resolved_yaml

__all__ = ["load_config", "resolved_yaml"]
