"""Whether a run is alive, on file systems with locks and without."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from ssl_rot.tracking.heartbeat import heartbeat, is_alive


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    monkeypatch.setattr("ssl_rot.tracking.heartbeat.HEARTBEAT", 0.05)
    monkeypatch.setattr("ssl_rot.tracking.heartbeat._WATCH", 0.5)


@pytest.mark.parametrize("name", ["ENOSYS", "ENOTSUP", "EINVAL", "ENOLCK"])
def test_without_locks_the_heartbeat_decides(name, monkeypatch, tmp_path):
    def flock(descriptor, operation):
        raise OSError(getattr(errno, name), "simulated")

    monkeypatch.setattr(fcntl, "flock", flock)
    left, started = tmp_path / "running.lock", threading.Event()
    left.touch()  # by a killed run
    assert not is_alive(tmp_path, same_host=True)

    def resume() -> bool:
        with heartbeat(tmp_path):
            started.set()
            return is_alive(tmp_path, same_host=True)

    pool = ThreadPoolExecutor(1)
    alive = pool.submit(resume)
    pool.shutdown(wait=False)
    if not started.wait(10):
        left.unlink()  # lets the thread end
        pytest.fail("the file of a killed run is taken for a lock")
    assert alive.result(10)
    assert not is_alive(tmp_path, same_host=True)


@pytest.mark.parametrize("name", ["EACCES", "EIO"])
def test_a_run_that_cannot_be_looked_at_is_left_alone(name, monkeypatch, tmp_path):
    def denied(path, *args):
        raise OSError(getattr(errno, name), "simulated")

    (tmp_path / "running.lock").touch()
    assert not is_alive(tmp_path, same_host=True)
    monkeypatch.setattr(os, "open", denied)
    assert is_alive(tmp_path, same_host=True)


def test_a_run_that_waited_for_another_to_end_is_seen_alive(tmp_path):
    with ThreadPoolExecutor(2) as pool:
        started, second = threading.Event(), threading.Event()
        end_first, end_second = threading.Event(), threading.Event()

        def hold(begun: threading.Event, ended: threading.Event) -> None:
            with heartbeat(tmp_path):
                begun.set()
                assert ended.wait(10)

        one = pool.submit(hold, started, end_first)
        assert started.wait(10)
        other = pool.submit(hold, second, end_second)
        assert not second.wait(0.3)
        end_first.set()
        one.result(10)
        assert second.wait(10)
        assert is_alive(tmp_path, same_host=True)
        end_second.set()
        other.result(10)
    assert not list(tmp_path.iterdir())


def test_a_lock_that_cannot_be_removed_hides_no_error(monkeypatch, tmp_path):
    def refuse(path, missing_ok=False):
        raise OSError(errno.EROFS, "Read-only file system")

    with pytest.raises(KeyError), heartbeat(tmp_path):  # noqa: PT012
        monkeypatch.setattr("pathlib.Path.unlink", refuse)
        raise KeyError
    monkeypatch.undo()
    assert not is_alive(tmp_path, same_host=True)  # its descriptor is closed
