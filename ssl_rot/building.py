"""Builds the ``_target_`` of a config node."""

from collections.abc import Mapping
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from ssl_rot.errors import UserError


def build(node: Mapping[str, Any], **arguments: Any) -> Any:
    """Hydra's ``instantiate``, but a :class:`UserError` is raised without Hydra's wrapper."""
    try:
        return instantiate(dict(node), **arguments)
    except InstantiationException as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        raise
