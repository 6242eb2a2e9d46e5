"""The workers of a sweep, on machines that may share its folder."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from filelock import FileLock

from ssl_rot.sweep import workers


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has nothing to do with the sweep."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


def test_a_worker_of_another_machine_costs_no_process_of_this_one_its_life(bystander, tmp_path):
    folder = tmp_path / ".workers"
    folder.mkdir()
    with FileLock(folder / f"far-away-{bystander.pid}.pid"):
        workers.stop(tmp_path)
    with pytest.raises(subprocess.TimeoutExpired):
        bystander.wait(timeout=1)


@pytest.mark.parametrize("error", [ProcessLookupError, PermissionError])
def test_a_worker_that_ends_before_it_is_asked_to_is_no_error(monkeypatch, tmp_path, error):
    folder = tmp_path / ".workers"
    folder.mkdir()
    lock = FileLock(folder / f"{socket.gethostname()}-4000000.pid")
    lock.acquire()

    def gone(pid: int, signum: int) -> None:
        lock.release()
        raise error

    monkeypatch.setattr(os, "kill", gone)
    workers.stop(tmp_path)
    assert not lock.is_locked


def test_slots_are_a_machines_own(monkeypatch, tmp_path):
    monkeypatch.setenv(workers.SLOTS, "1")
    worked = threading.Event()

    def work() -> None:
        with workers.at_work(tmp_path):
            worked.set()

    monkeypatch.setattr(socket, "gethostname", lambda: "one")
    with workers.at_work(tmp_path):
        monkeypatch.setattr(socket, "gethostname", lambda: "two")
        threading.Thread(target=work, daemon=True).start()
        assert worked.wait(10)


def test_a_sweep_that_is_stopped_begins_no_job_until_it_is_resumed(tmp_path):
    workers.stop(tmp_path)
    with pytest.raises(KeyboardInterrupt), workers.at_work(tmp_path):
        pytest.fail("a job began")
    workers.allow(tmp_path)
    with workers.at_work(tmp_path):
        pass
