"""The worker processes of a sweep: which are running, and how to stop them.

Launchers know different things about their workers: after Ctrl-C submitit leaves them alone, and it
stops waiting for all of them once one is killed. Locked files in the sweep's folder work with every
launcher, and the operating system releases the locks of a process that dies. Machines may share the
folder, so the name of each file has the host in it: a process id means nothing on another machine.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ssl_rot.errors import ConfigError

_POLL_SECONDS = 0.2
_STOP_FILE = "stopped"

# Not SIGINT: Ctrl-C in a terminal reaches the workers too, and a second SIGINT ends them at once.
_STOP_SIGNAL = signal.SIGUSR1


@contextmanager
def register_worker(sweep: Path) -> Iterator[None]:
    """Registers this process as a worker of the sweep in that folder.

    Raises:
        KeyboardInterrupt: the sweep has been stopped.
    """
    folder = _worker_folder(sweep)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{socket.gethostname()}-{os.getpid()}.pid"):
        if (folder / _STOP_FILE).exists():
            raise KeyboardInterrupt("The sweep has been stopped")
        yield


def has_workers(sweep: Path) -> bool:
    """Whether a worker of the sweep is running, on any machine whose locks are seen here."""
    return bool(_find_running(sweep))


def wait_for_workers(sweep: Path) -> None:
    """Waits until no worker of the sweep is running, on any machine whose locks are seen here."""
    while has_workers(sweep):
        time.sleep(_POLL_SECONDS)


@contextmanager
def claim_folder(sweep: Path) -> Iterator[None]:
    """Keeps other sweeps out of the folder; jobs may start there, also after a sweep was stopped.

    Raises:
        ConfigError: another sweep is running there, or the folder cannot be written to.
    """
    folder = _worker_folder(sweep)
    lock = FileLock(folder / "sweep.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
        (folder / _STOP_FILE).unlink(missing_ok=True)
    except Timeout:
        hint = "start this one again, or choose another hydra.sweep.dir"
        raise ConfigError(
            [f"another sweep is running in hydra.sweep.dir={sweep}; {hint}"]
        ) from None
    except OSError as error:
        fault = f"hydra.sweep.dir={sweep} cannot be written to: {error.strerror}"
        raise ConfigError([fault]) from error
    try:
        yield
    finally:
        lock.release()


def stop_workers(sweep: Path) -> None:
    """Asks all workers on this machine to stop after their current epoch, and waits until they do.

    No job starts after that.
    """
    _worker_folder(sweep).mkdir(parents=True, exist_ok=True)
    (_worker_folder(sweep) / _STOP_FILE).touch()
    host = socket.gethostname()
    signaled: set[int] = set()
    while running := {pid for where, pid in _find_running(sweep) if where == host}:
        for pid in running - signaled:
            # It may have ended since, and its id may now be that of another user's process.
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, _STOP_SIGNAL)
        signaled |= running
        time.sleep(_POLL_SECONDS)


def _find_running(sweep: Path) -> set[tuple[str, int]]:
    """Host and process id of the workers that hold their lock, except for this process."""
    found = set()
    for path in _worker_folder(sweep).glob("*.pid"):
        try:
            with FileLock(path, timeout=0):
                pass
        except Timeout:
            host, _, pid = path.stem.rpartition("-")
            found.add((host, int(pid)))
    return found - {(socket.gethostname(), os.getpid())}


def _worker_folder(sweep: Path) -> Path:
    return sweep / ".workers"
