"""A config as MLflow's params: flat dotted keys, values as text."""

from collections.abc import Mapping
from typing import Any

from ssl_rot.errors import as_text


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one of dotted keys; lists stay values."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def to_params(config: Mapping[str, Any]) -> dict[str, str]:
    """Flat dotted keys with their values as one writes them on the command line."""
    return {key: as_text(value) for key, value in flatten(config).items()}
