"""Whether a run is still alive: it holds a lock on a file in its folder and touches that file.

The lock answers immediately, and the operating system releases it when the process dies. If two
machines share the folder but not its locks, the heartbeat answers after some seconds.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

_LOCK = "running.lock"
HEARTBEAT = 5.0  # seconds between two beats
_WATCH = 3 * HEARTBEAT  # seconds without a beat that mean death


@contextmanager
def heartbeat(folder: Path) -> Iterator[None]:
    """Marks the run in ``folder`` as alive inside the block."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _LOCK
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(HEARTBEAT):
            try:
                os.utime(path)
            except OSError:  # the folder was moved or deleted: the run itself will fail
                return

    with FileLock(path):
        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
    path.unlink(missing_ok=True)


def is_alive(folder: Path, *, same_host: bool) -> bool:
    """Whether a process is working on the run in ``folder``.

    Args:
        folder: of the run.
        same_host: whether the run started on a machine of this name. If not, the heartbeat is
            watched for some seconds: it may be another machine, or this one renamed.
    """
    path = folder / _LOCK
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        # Shared, so that two processes that check do not mistake each other for the run.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return not same_host and _beats(path)


def _beats(path: Path) -> bool:
    try:
        last = path.stat().st_mtime_ns
        deadline = time.monotonic() + _WATCH
        while time.monotonic() < deadline:
            time.sleep(HEARTBEAT / 10)
            if path.stat().st_mtime_ns != last:
                return True
    except FileNotFoundError:  # the run has just ended
        pass
    return False
