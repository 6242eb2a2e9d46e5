"""Files that are whole or not there, whatever happens while they are written."""

from __future__ import annotations

import os
from pathlib import Path

from ssl_rot.errors import StorageError


def write(path: Path, content: bytes) -> None:
    """Writes a file: a reader finds all of it under ``path``, or what was there before.

    It is on the disk when this returns. Folders are made.

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
            os.fsync(directory)  # the rename itself
        finally:
            os.close(directory)
    except OSError as error:
        try:
            temporary.unlink(missing_ok=True)
        finally:
            raise StorageError(path, error) from error
