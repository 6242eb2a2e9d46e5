"""The processes that a sweep's jobs run in: how many at once, which of them live, how to stop them.

Launchers differ in what they know of their workers: after Ctrl-C joblib kills them, and submitit
leaves them alone; and it gives up waiting for all of them when one was killed. Locked files in the
sweep's folder tell the same of every launcher, and the operating system releases them when a
process dies. Machines may share the folder: each file bears its host's name, since a process's
number means nothing elsewhere.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ssl_rot.errors import ConfigError

SLOTS = "SSL_ROT_SLOTS"
"""In a job's environment: how many jobs of a sweep may work at once on a machine, or ``cores``."""

_POLL = 0.2  # seconds
_STOPPED = "stopped"

# Not SIGINT, which Ctrl-C in a terminal sends to the workers too: it would be their second.
_ASK = signal.SIGUSR1


def idle() -> None:
    """For the start of a worker of a pool: Ctrl-C is not for a process without a job.

    The pool would take its end for a fault, and kill the workers that finish their epoch. A job
    brings handlers of its own.
    """
    for signum in (signal.SIGINT, _ASK):
        signal.signal(signum, signal.SIG_IGN)


@contextmanager
def at_work(sweep: Path) -> Iterator[None]:
    """Marks this process as one of the sweep's workers, and waits until it may work.

    Args:
        sweep: the sweep's folder.

    Raises:
        KeyboardInterrupt: the sweep is being stopped.
    """
    folder = _folder(sweep)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{socket.gethostname()}-{os.getpid()}.pid"), ExitStack() as stack:
        if (folder / _STOPPED).exists():
            raise KeyboardInterrupt("The sweep has been stopped")
        limit = os.environ.get(SLOTS)
        if limit is not None:
            slots = str(os.cpu_count() or 1) if limit == "cores" else limit
            if not slots.isdecimal() or int(slots) < 1:
                raise ConfigError(
                    [
                        f"{SLOTS}={limit} in the environment is not allowed; it must be "
                        "a whole number of at least 1, or cores"
                    ]
                )
            stack.enter_context(_slot(folder, int(slots)))
        yield


@contextmanager
def _slot(folder: Path, slots: int) -> Iterator[None]:
    while True:
        for number in range(slots):
            lock = FileLock(folder / f"{socket.gethostname()}-{number}.slot")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            try:
                yield
            finally:
                lock.release()
            return
        time.sleep(_POLL)


def wait(sweep: Path) -> None:
    """Returns when no worker of the sweep is left, on any machine whose locks are seen here."""
    while _living(sweep):
        time.sleep(_POLL)


def allow(sweep: Path) -> None:
    """Lets jobs begin again in the folder of a sweep that was stopped."""
    (_folder(sweep) / _STOPPED).unlink(missing_ok=True)


def stop(sweep: Path) -> None:
    """Asks all workers on this machine to end after the epoch they are in, and waits for that.

    No job begins after that.
    """
    _folder(sweep).mkdir(parents=True, exist_ok=True)
    (_folder(sweep) / _STOPPED).touch()
    asked: set[int] = set()
    host = socket.gethostname()
    while workers := {pid for where, pid in _living(sweep) if where == host}:
        for worker in workers - asked:
            # It may have ended since, and its number be another user's.
            with suppress(ProcessLookupError, PermissionError):
                os.kill(worker, _ASK)
        asked |= workers
        time.sleep(_POLL)


def _living(sweep: Path) -> set[tuple[str, int]]:
    """Host and process id of the workers that hold their lock, this process not among them."""
    found = set()
    for path in _folder(sweep).glob("*.pid"):
        try:
            with FileLock(path, timeout=0):
                pass
        except Timeout:
            host, _, pid = path.stem.rpartition("-")
            found.add((host, int(pid)))
    return found - {(socket.gethostname(), os.getpid())}


def _folder(sweep: Path) -> Path:
    return sweep / ".workers"
