"""``python -m ssl_rot.predict MODEL IMAGES...``: the classes of image files, as CSV or Parquet."""

from __future__ import annotations

import argparse
import io
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from ssl_rot.errors import EXIT_STATUS, UserError
from ssl_rot.imports import importing_much
from ssl_rot.streams import drop

SKIPPED_STATUS = 1
"""The exit status if there are predictions, but not for everything that was asked for."""


def predict(model_name: str, names: Sequence[str], out: Path | None = None) -> int:
    """Predicts image files; what gives no prediction is named on stderr, and skipped.

    Args:
        model_name: what :func:`ssl_rot.deploy.loading.load_model` takes.
        names: files, folders and patterns.
        out: a CSV or Parquet file; ``None`` writes CSV to standard output.

    Returns:
        How many files, folders or patterns were skipped.

    Raises:
        UserError: there is no such model, or ``out`` cannot be written.
    """
    with importing_much():
        from tqdm import tqdm

        from ssl_rot.deploy.image_files import Unusable, find_files
        from ssl_rot.deploy.loading import load_model
        from ssl_rot.deploy.prediction import Prediction, predict_files
        from ssl_rot.deploy.table import write_csv, write_file

    model = load_model(model_name)
    paths, unusable = find_files(names)
    skipped = 0

    def skip(what: Unusable) -> None:
        nonlocal skipped
        skipped += 1
        # Quoted, since a name may contain line breaks.
        tqdm.write(f"skipped {what.path!r}: {what.reason}", file=sys.stderr)

    def predictions() -> Iterator[Prediction]:
        with tqdm(total=len(paths), unit="image", disable=None) as progress:
            for each in predict_files(model, paths):
                progress.update()
                if isinstance(each, Unusable):
                    skip(each)
                else:
                    yield each

    for each in unusable:
        skip(each)
    if out is None:
        write_csv(predictions(), sys.stdout)
    else:
        write_file(predictions(), out)
    return skipped


def _table_file(name: str) -> Path:
    path = Path(name)
    if path.suffix not in (".csv", ".parquet"):
        raise argparse.ArgumentTypeError(f"{name} must end in .csv or .parquet")
    return path


def main() -> None:
    """The command ``python -m ssl_rot.predict``."""
    parser = argparse.ArgumentParser(
        prog="python -m ssl_rot.predict",
        description="Predicts the classes of image files, and writes path, class and its "
        "probability as CSV. Files that cannot be decoded are named and skipped; the exit status "
        "is then 1.",
    )
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="the id of a finished downstream run, or models:/NAME@ALIAS, in "
        "MLFLOW_TRACKING_URI or mlflow.db here; or a folder of python -m ssl_rot.export",
    )
    parser.add_argument(
        "images", metavar="IMAGES", nargs="+", help="image files, folders of them, or patterns"
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        type=_table_file,
        help="write a .csv or .parquet file instead of standard output, completely or not at all",
    )
    options = parser.parse_args()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # File names are bytes, not all of them text.
        sys.stdout.reconfigure(errors="surrogateescape")
    try:
        skipped = predict(options.model, options.images, options.out)
        sys.stdout.flush()
    except BrokenPipeError:  # as with `| head`: nobody wants the others
        drop(sys.stdout)
        return
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(EXIT_STATUS)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    sys.exit(SKIPPED_STATUS if skipped else 0)


if __name__ == "__main__":
    main()
