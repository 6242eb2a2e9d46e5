"""Tables of predictions: CSV as they come, or a file that is written completely or not at all."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import numpy as np

from ssl_rot import files
from ssl_rot.deploy.prediction import Prediction
from ssl_rot.errors import DataError, StorageError

COLUMNS = ("path", "class", "probability")
SUFFIXES = (".csv", ".parquet")


def write_csv(predictions: Iterable[Prediction], stream: IO[str]) -> None:
    """Writes each prediction as soon as it is made.

    A probability has the digits that give the same float32 again.
    """
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for each in predictions:
        writer.writerow((each.path, each.label, str(each.probability)))


def write_file(predictions: Iterable[Prediction], path: Path) -> None:
    """Writes a CSV or Parquet file, by the suffix of ``path``, once all predictions are made.

    Raises:
        DataError: the file cannot be written. A place that takes no file is noticed before the
            first prediction.
    """
    _check_place(path)
    if path.suffix == ".csv":
        text = io.StringIO()
        write_csv(predictions, text)
        content = text.getvalue().encode(errors="surrogateescape")  # names as the disk has them
    else:
        content = _parquet(predictions)
    try:
        files.write(path, content)
    except StorageError as error:
        raise _cannot_write(path, error.__cause__) from error


def _parquet(predictions: Iterable[Prediction]) -> bytes:
    import pandas as pd

    rows = list(predictions)
    # Parquet's strings are UTF-8, and a file's name may be anything.
    names = [os.fsencode(row.path).decode(errors="backslashreplace") for row in rows]
    columns = (
        names,
        [row.label for row in rows],
        np.array([row.probability for row in rows], np.float32),
    )
    table = pd.DataFrame(dict(zip(COLUMNS, columns, strict=True))).astype(
        dict.fromkeys(COLUMNS[:2], str)
    )
    return table.to_parquet(index=False)


def _check_place(path: Path) -> None:
    try:
        if path.is_dir():
            raise IsADirectoryError(0, "it is a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(path.parent, os.W_OK):
            raise PermissionError(0, f"{path.parent} is not writable")
    except OSError as error:
        raise _cannot_write(path, error) from error


def _cannot_write(path: Path, error: BaseException | None) -> DataError:
    reason = error.strerror if isinstance(error, OSError) else error
    return DataError(f"{path} cannot be written: {reason}")
