"""The workers of a sweep, on machines that may share its folder."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
from filelock import FileLock

from ssl_rot.sweep import worker_locks


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has nothing to do with the sweep."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


def test_stopping_kills_no_process_with_the_id_of_a_worker_on_another_machine(bystander, tmp_path):
    folder = tmp_path / ".workers"
    folder.mkdir()
    with FileLock(folder / f"far-away-{bystander.pid}.pid"):
        worker_locks.stop_workers(tmp_path)
    with pytest.raises(subprocess.TimeoutExpired):
        bystander.wait(timeout=1)


@pytest.mark.parametrize("error", [ProcessLookupError, PermissionError])
def test_a_worker_that_ends_before_it_is_signaled_is_no_error(monkeypatch, tmp_path, error):
    folder = tmp_path / ".workers"
    folder.mkdir()
    lock = FileLock(folder / f"{socket.gethostname()}-4000000.pid")
    lock.acquire()

    def gone(pid: int, signum: int) -> None:
        lock.release()
        raise error

    monkeypatch.setattr(os, "kill", gone)
    worker_locks.stop_workers(tmp_path)
    assert not lock.is_locked


def test_a_stopped_sweep_starts_no_job_until_it_is_resumed(tmp_path):
    worker_locks.stop_workers(tmp_path)
    with pytest.raises(KeyboardInterrupt), worker_locks.register_worker(tmp_path):
        pytest.fail("a job started")
    with worker_locks.claim_folder(tmp_path), worker_locks.register_worker(tmp_path):
        pass
