"""Whether a run is still at work: it holds a lock in its folder, and its heart beats there.

The lock tells at once, and the operating system releases it when the process dies. Where two
machines share a folder without sharing locks, the heartbeat tells after a while.
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
HEARTBEAT = 5.0  # seconds from beat to beat
_WATCH = 3 * HEARTBEAT


@contextmanager
def heartbeat(folder: Path) -> Iterator[None]:
    """Marks the run of ``folder`` as at work inside the block."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _LOCK
    over = threading.Event()

    def beat() -> None:
        while not over.wait(HEARTBEAT):
            try:
                os.utime(path)
            except OSError:  # the folder was moved or deleted: the run itself will tell
                return

    with FileLock(path):
        heart = threading.Thread(target=beat, daemon=True)
        heart.start()
        try:
            yield
        finally:
            over.set()
            heart.join()
    path.unlink(missing_ok=True)


def is_alive(folder: Path, *, same_host: bool) -> bool:
    """Whether a process is at work on the run of ``folder``.

    Args:
        folder: of the run.
        same_host: whether this machine has the name of the one that the run began on. Of another
            one, which may be this one under a new name, the heartbeat is watched for some seconds.
    """
    path = folder / _LOCK
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        # Shared, so that two who look do not take each other for the run.
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
    except FileNotFoundError:  # it has just ended well
        pass
    return False
