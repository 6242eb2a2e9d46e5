"""The image files that a command line names: files, folders, patterns."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from dataclasses import dataclass

from ssl_rot.data.folder.listing import files_below


@dataclass(frozen=True)
class Unusable:
    """A file or folder that gives no prediction, and why."""

    path: str
    reason: str


def find_files(names: Iterable[str]) -> tuple[list[str], list[Unusable]]:
    """The files that are meant by ``names``, unopened, and the names that mean none.

    A folder stands for all files below it, except hidden ones; a name that does not exist may be
    a pattern with ``*``, ``?``, ``[...]`` or ``**``, for shells that do not expand them.
    """
    paths: list[str] = []
    unusable: list[Unusable] = []
    for name in names:
        found = [name]
        if not os.path.lexists(name):
            found = sorted(glob.glob(name, recursive=True))
            if not found:
                is_pattern = glob.has_magic(name)
                reason = "matches no file" if is_pattern else "no such file or folder"
                unusable.append(Unusable(name, reason))
        for path in found:
            if not os.path.isdir(path):
                paths.append(path)
                continue
            try:
                below = files_below(path.rstrip("/") or "/")
            except OSError as error:
                unusable.append(Unusable(error.filename or path, str(error.strerror)))
            except RecursionError:
                unusable.append(Unusable(path, "its folders are nested too deeply"))
            else:
                paths += below
                if not below:
                    unusable.append(Unusable(path, "a folder without files"))
    return paths, unusable
