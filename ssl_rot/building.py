"""Builds the ``_target_`` of a config node."""

from collections.abc import Mapping
from typing import Any

import hydra.utils
from hydra.errors import InstantiationException

from ssl_rot.errors import UserError

# Configs are trusted, see docs/security.md. Hydra 1.4 wants that said; 1.3 does not know it.
_DISABLED = getattr(hydra.utils, "UNSAFE_DISABLE_EXECUTION_CHECKS", None)

VERSION_BASE: dict[str, Any] = {"version_base": "1.3"} if _DISABLED is None else {}
"""For ``hydra.main``: which defaults Hydra 1.3 has to use. Hydra 1.4 warns of the argument."""

TRUST: dict[str, Any] = {} if _DISABLED is None else {"execution_whitelist": _DISABLED}
"""For ``hydra.main``: that configs may name any class."""

_TRUST = {f"_{name}_": value for name, value in TRUST.items()}


def build(node: Mapping[str, Any], **arguments: Any) -> Any:
    """Hydra's ``instantiate``, but a :class:`UserError` is raised without Hydra's wrapper."""
    try:
        return hydra.utils.instantiate(node, **arguments, **_TRUST)
    except InstantiationException as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        raise
