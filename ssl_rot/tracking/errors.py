"""One kind of error for all that a tracking store may raise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ssl_rot.errors import TrackingError, describe_error


@contextmanager
def store_errors(what: str) -> Iterator[None]:
    """Turns whatever a store raises inside the block into a :class:`TrackingError`.

    Args:
        what: what did not work, in words.
    """
    try:
        yield
    except TrackingError:
        raise
    except Exception as error:  # each kind of store has errors of its own
        raise TrackingError(f"{what}: {describe_error(error)}") from error
