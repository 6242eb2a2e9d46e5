"""Imports without the garbage collector leave it as it was, and keep no garbage."""

from __future__ import annotations

import gc
import sys
import threading
import weakref

import pytest

from ssl_rot.imports import importing_much


class Node:
    """In a circle with itself: only the collector frees it."""

    def __init__(self) -> None:
        self.me = self


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_off_inside_and_as_before_after(enabled):
    (gc.enable if enabled else gc.disable)()
    try:
        with importing_much():
            assert not gc.isenabled()
        assert gc.isenabled() == enabled
        with pytest.raises(KeyError), importing_much():
            raise KeyError
        assert gc.isenabled() == enabled
    finally:
        gc.enable()


def test_what_is_imported_is_frozen_and_garbage_is_not(monkeypatch):
    garbage = weakref.ref(Node())
    with importing_much():
        pass
    gc.collect()
    assert garbage() is None
    frozen = gc.get_freeze_count()
    monkeypatch.delitem(sys.modules, "this", raising=False)
    with importing_much():
        import this  # noqa: F401
    assert gc.get_freeze_count() > frozen


def test_two_threads_do_not_leave_it_off():
    inside, leave = threading.Event(), threading.Event()

    def first() -> None:
        with importing_much():
            inside.set()
            assert leave.wait(10)

    thread = threading.Thread(target=first)
    thread.start()
    assert inside.wait(10)
    with importing_much():
        leave.set()
        thread.join()
        assert not gc.isenabled()
    assert gc.isenabled()
