"""Builds what a config node names by ``_target_``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from ssl_rot.errors import UserError


def build(node: Mapping[str, Any], **arguments: Any) -> Any:
    """Hydra's ``instantiate``, with a :class:`UserError` taken out of Hydra's wrapping.

    Args:
        node: has a ``_target_``.
        arguments: passed to it besides the node's own keys.
    """
    try:
        return instantiate(dict(node), **arguments)
    except InstantiationException as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        raise
