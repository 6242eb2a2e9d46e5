"""A CSV that names the images of a folder with their labels."""

from __future__ import annotations

import csv
import hashlib
import os
import stat
from array import array
from collections import Counter
from pathlib import Path
from posixpath import normpath

import torch

from ssl_rot.data.folder.encoded import Listing, encode_labels, list_some
from ssl_rot.data.folder.listing import FolderFiles, folder_error, list_files
from ssl_rot.errors import DataError

SPLIT = "split"
ALL_COLUMNS = ["label", "path", SPLIT]


def list_csv(
    root: Path, labels: str, test_fraction: float | None, unlabelled: str | None
) -> Listing:
    """Lists the images that a CSV names, without opening one; arguments as for ``image_folder``."""
    if not root.is_dir():
        raise folder_error(root, "no such folder.")
    where = f"dataset.labels={labels}"
    rows = _read_rows(where, root / labels)
    _check_split(where, rows, test_fraction)
    absolute = [repr(row["path"]) for row in rows if os.path.isabs(row["path"])]
    if absolute:
        raise DataError(
            f"{where}: {len(absolute)} paths are absolute; they must start from dataset.root, so "
            f"that the data may be moved:{list_some(absolute)}"
        )
    names = [normpath(row["path"]) for row in rows]
    doubled = [repr(name) for name, count in Counter(names).items() if count > 1]
    if doubled:
        raise DataError(f"{where}: {len(doubled)} paths occur more than once:{list_some(doubled)}")
    versions = array("q")
    missing = [repr(name) for name in names if not _append_version(root / name, versions)]
    if missing:
        raise DataError(
            f"{where}: {len(missing)} of {len(names)} files do not exist below "
            f"{root.absolute()}, which the paths start from:{list_some(missing)}"
        )
    values: list[str | None] = [row["label"].strip() or None for row in rows]
    in_test = [row.get(SPLIT) == "test" for row in rows]
    if unlabelled is not None:
        more = _list_more(root, unlabelled, {*names, normpath(labels)}, versions)
        names += more
        values += [None] * len(more)
        in_test += [False] * len(more)
    classes, encoded = encode_labels(where, values, in_test)
    return Listing(
        where=f"dataset.root={root}",
        classes=classes,
        names=names,
        images=FolderFiles(root, names),
        labels=encoded,
        in_test=torch.tensor(in_test),
        version=hashlib.sha256(versions).hexdigest(),
    )


def _read_rows(where: str, path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            columns = list(reader.fieldnames or ())
            if sorted({*columns, SPLIT}) != ALL_COLUMNS or len(set(columns)) < len(columns):
                raise DataError(
                    f"{where}: its first line must name the columns path and label, and may name "
                    f"split, separated by commas; it names: {', '.join(columns) or 'none'}."
                )
            rows = []
            for row in reader:
                if None in row or None in row.values():
                    raise DataError(
                        f"{where}: line {reader.line_num} does not have {len(columns)} fields."
                    )
                rows.append(row)
    except OSError as error:
        raise DataError(
            f"{where}: {path.absolute()} cannot be read ({error.strerror}); the name of the CSV "
            "is relative to dataset.root."
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{where}: {path.absolute()} is not a CSV in UTF-8 ({error}).") from error
    return rows


def _check_split(where: str, rows: list[dict[str, str]], test_fraction: float | None) -> None:
    if not rows:
        raise DataError(f"{where}: names no image.")
    has_split = SPLIT in rows[0]
    if has_split and test_fraction is not None:
        raise DataError(
            f"{where}: has a column split; dataset.test_fraction={test_fraction} must be null."
        )
    if not has_split and test_fraction is None:
        raise DataError(
            f"{where}: has no column split; add one (train or test), or set "
            "dataset.test_fraction=0.2, say."
        )
    for row in rows if has_split else ():
        if row[SPLIT] not in ("train", "test"):
            raise DataError(
                f"{where}: the split of {row['path']!r} is {row[SPLIT]!r}; it must be train or "
                "test. For validation images, see dataset.val_per_class and val_fraction."
            )


def _append_version(path: Path, versions: array[int]) -> bool:
    """Appends the size and time of a file; ``False`` if there is none."""
    try:
        status = path.stat()
    except (OSError, ValueError):  # a path may hold a null byte
        return False
    versions.append(status.st_size)
    versions.append(status.st_mtime_ns % 2**63)
    return stat.S_ISREG(status.st_mode)


def _list_more(root: Path, unlabelled: str, known: set[str], versions: array[int]) -> list[str]:
    """The files of the folder that the CSV does not name."""
    folder = root / unlabelled
    if not folder.is_dir():
        raise folder_error(root, f"dataset.unlabelled={unlabelled} must be a folder in it, or '.'.")
    paths: list[str] = []
    found = array("q")
    real = folder.resolve()
    list_files(str(folder), frozenset(map(str, [real, *real.parents])), paths, found)
    names = [normpath(os.path.relpath(path, root)) for path in paths]
    is_more = [name not in known for name in names]
    for i, chosen in enumerate(is_more):
        versions.extend(found[2 * i : 2 * i + 2] if chosen else array("q"))
    return [name for name, chosen in zip(names, is_more, strict=True) if chosen]
