"""Atomic file writes: a file is complete or absent, even if the process dies while writing."""

import os
from contextlib import suppress
from pathlib import Path

from ssl_rot.errors import StorageError


def write(path: Path, content: bytes) -> None:
    """Writes a file atomically: a reader finds the new content under ``path``, or the old.

    The content has been flushed to the disk when this returns. Missing folders are created.

    Raises:
        StorageError: the disk is full, or cannot be written.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)  # makes the rename itself durable
        finally:
            os.close(directory)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise StorageError(path, error) from error
