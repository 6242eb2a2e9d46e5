"""Imports whole libraries faster."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

_lock = Lock()
_blocks = 0  # that are open, in all threads
_collects = True  # whether the collector was on before the first of them


@contextmanager
def importing_much() -> Iterator[None]:
    """For a block that imports torch and MLflow: it takes a tenth to a third less.

    They make a million objects that stay, and the garbage collector would look through them again
    and again. After the block it leaves them alone for good.
    """
    global _blocks, _collects
    modules = len(sys.modules)
    with _lock:
        if _blocks == 0:
            _collects = gc.isenabled()
        _blocks += 1
        gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > modules:  # else it would keep an earlier job's garbage
            gc.freeze()
        with _lock:
            _blocks -= 1
            if _blocks == 0 and _collects:
                gc.enable()
