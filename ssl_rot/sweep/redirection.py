"""Where the words of a sweep go: its terminal shows how it is doing, files keep the rest."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

JOB_OUTPUT = "output.txt"
"""In the folder of a job: all that it printed."""
SWEEP_LOG = "sweep.log"
"""In the folder of a sweep: Hydra's own log of it."""


@contextmanager
def redirected_to(path: Path) -> Iterator[None]:
    """What a job prints and logs inside the block goes to a file, even in the sweep's process.

    What somebody waits for or has to know now stays on stderr: what is said about a signal, and
    records with an attribute ``urgent``.
    """
    root = logging.getLogger()
    consoles = [each for each in root.handlers if type(each) is logging.StreamHandler]
    told = logging.StreamHandler(sys.stderr)
    told.addFilter(
        lambda record: record.name == "ssl_rot.training.signals" or hasattr(record, "urgent")
    )
    root.addHandler(told)
    opened = path.open("a", errors="backslashreplace")
    with opened as file, redirect_stdout(file), redirect_stderr(file):
        streams = [handler.setStream(file) for handler in consoles]
        try:
            yield
        finally:
            for handler, stream in zip(consoles, streams, strict=True):
                if stream is not None:
                    handler.setStream(stream)
            root.removeHandler(told)


@contextmanager
def hydras_log_in(folder: Path) -> Iterator[None]:
    """Hydra's lines about each job go to a file; only its warnings stay on the terminal."""
    file = logging.FileHandler(folder / SWEEP_LOG)
    file.setFormatter(logging.Formatter("[%(asctime)s] %(message)s"))
    console = logging.StreamHandler(sys.stderr)
    console.setLevel(logging.WARNING)
    loggers = [logging.getLogger(name) for name in ("hydra", "hydra_plugins")]
    for logger in loggers:
        logger.handlers[:], logger.propagate = [file, console], False
    try:
        yield
    finally:
        for logger in loggers:
            logger.handlers[:], logger.propagate = [], True
        file.close()
