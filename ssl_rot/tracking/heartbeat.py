"""Whether a run is still alive: it holds a lock on a file in its folder and touches that file.

The lock answers immediately, and the operating system releases it when the process dies. If two
machines share the folder but not its locks, or its file system has no locks, the heartbeat answers
after some seconds.
"""

import errno
import fcntl
import math
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ssl_rot.errors import StorageError
from ssl_rot.tracking.background import in_background

_LOCK = "running.lock"
HEARTBEAT = 5.0  # seconds between two beats
LOST_SECONDS = 60.0  # of :func:`silence` that mean death to those who only look
_WATCH = 3 * HEARTBEAT  # seconds without a beat that mean death


@contextmanager
def heartbeat(folder: Path) -> Iterator[None]:
    """Marks the run in ``folder`` as alive inside the block.

    Raises:
        StorageError: the folder cannot be created or written to.
    """
    path = folder / _LOCK

    def beat(ended: threading.Event) -> None:
        while not ended.wait(HEARTBEAT):
            with suppress(OSError):  # it may pass; if the folder is gone, the run itself will fail
                os.utime(path)

    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _lock(path)
    except OSError as error:
        raise StorageError(path, error) from error
    try:
        with in_background(beat):
            yield
    finally:
        with suppress(OSError):  # what happened in the block is what counts
            path.unlink(missing_ok=True)
        os.close(descriptor)


def _lock(path: Path) -> int:
    """Opens and locks the file.

    A library would take the file itself for the lock on a file system that has none, and a killed
    run leaves its file.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        with suppress(OSError):  # no locks here: the heartbeat alone tells
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)  # its earlier holder has deleted it


def silence(folder: Path) -> float:
    """Seconds since the last beat of the run in ``folder``; infinite if it has ended.

    Unlike :func:`is_alive`, it never waits, and by itself proves nothing: clocks differ.
    """
    try:
        return time.time() - (folder / _LOCK).stat().st_mtime
    except OSError:
        return math.inf


def is_alive(folder: Path, *, same_host: bool) -> bool:
    """Whether a process is working on the run in ``folder``.

    Unless the run started on a machine of this name (``same_host``), the heartbeat is watched for
    some seconds: it may be another machine, or this one renamed.
    """
    path = folder / _LOCK
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # whether it is another user's or cannot be read for now: leave it alone
        return True
    try:
        # Shared, so that two processes that check do not mistake each other for the run.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return True
        same_host = False  # no locks here
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
