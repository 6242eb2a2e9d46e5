"""One error type for everything that a tracking store may raise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ssl_rot.errors import TrackingError, describe_error


@contextmanager
def store_errors(what: str) -> Iterator[None]:
    """Turns whatever a store raises inside the block into a :class:`TrackingError`.

    Args:
        what: the operation that failed, as the start of the message.
    """
    try:
        yield
    except TrackingError:
        raise
    except Exception as error:  # each kind of store raises its own errors
        raise TrackingError(f"{what}: {describe_error(error)}") from error
