"""Starts the process from which every job of a sweep is forked, with everything imported already.

It starts while the sweep itself still imports and plans: on two cores, nobody waits for it.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import forkserver, get_context
from multiprocessing.context import BaseContext
from typing import Any

_LONGEST_FOLDER = 60

SOURCES_VARIABLE = "SSL_ROT_SOURCES"
"""In the server's environment: the data to load before the first job, as JSON."""


def start_fork_server(sources: Sequence[Mapping[str, Any]]) -> None:
    """Starts the server in the background, unless it is running.

    Args:
        sources: the ``dataset.source`` nodes of the jobs. What is loaded in the server is in the
            memory of every job, once for all of them.
    """
    context().set_forkserver_preload(["ssl_rot.sweep.preloading"])
    # Up to Python 3.12, the server does not take over this process's sys.path.
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    with _environment(PYTHONPATH=path, **{SOURCES_VARIABLE: json.dumps(list(sources))}):
        _start_in_short_folder()


def _start_in_short_folder() -> None:
    """Starts the server; the name of its socket may have about a hundred characters.

    Clusters set a TMPDIR for each job that can be longer. Python 3.14 looks for a shorter one too.
    """
    usual = tempfile.tempdir
    if len(tempfile.gettempdir()) > _LONGEST_FOLDER:
        tempfile.tempdir = next(filter(os.path.isdir, ("/tmp", "/var/tmp")), usual)
    try:
        forkserver.ensure_running()
    finally:
        tempfile.tempdir = usual


def context() -> BaseContext:
    """Starts processes from the server."""
    return get_context("forkserver")


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
