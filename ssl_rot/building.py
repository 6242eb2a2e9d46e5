"""Builds the ``_target_`` of a config node."""

from collections.abc import Mapping
from typing import Any

import hydra.utils
from hydra.errors import InstantiationException

from ssl_rot.errors import UserError

# Configs are trusted, see docs/security.md. Hydra 1.4 wants that said; 1.3 does not know the word.
_TRUSTED = (
    {"_execution_whitelist_": hydra.utils.UNSAFE_DISABLE_EXECUTION_CHECKS}
    if hasattr(hydra.utils, "UNSAFE_DISABLE_EXECUTION_CHECKS")
    else {}
)


def build(node: Mapping[str, Any], **arguments: Any) -> Any:
    """Hydra's ``instantiate``, but a :class:`UserError` is raised without Hydra's wrapper."""
    try:
        return hydra.utils.instantiate(node, **arguments, **_TRUSTED)
    except InstantiationException as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        raise
