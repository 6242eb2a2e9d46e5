"""Jobs in processes of their own, as a sweep that is interrupted starts and stops them."""

from __future__ import annotations

import os
import signal
from multiprocessing import Pipe
from types import SimpleNamespace

import pytest

from ssl_rot.sweep import worker_pool
from ssl_rot.sweep.scheduler import Scheduler, Work
from ssl_rot.sweep.slots import Slot
from ssl_rot.training.signals import Interrupted, Interrupts


class StartedByHand:
    """A process that is interrupted while it starts, as by a Ctrl-C at that moment."""

    def __init__(self, **options: object) -> None:
        self.life: list[str] = []
        self.pid = None

    def start(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        self.life.append("started")

    def is_alive(self) -> bool:
        return True

    def join(self, timeout: float) -> None:
        self.life.append("joined")


def test_ctrl_c_while_a_process_starts_leaves_none_half_started(monkeypatch):
    process = StartedByHand()
    context = SimpleNamespace(Pipe=Pipe, Process=lambda **options: process)
    monkeypatch.setattr(worker_pool.fork_server, "context", lambda: context)
    slot = Slot(number=0, cores=(0,), threads=1)
    pool = worker_pool.WorkerPool(
        [slot],
        Scheduler([Work(0, "key", None, 0, 10)], 1),
        orders=lambda number, slot: None,
        ended=lambda number, report: None,
        idle=lambda: None,
    )
    with Interrupts().installed(), pytest.raises(Interrupted):
        pool.run()
    assert process.life == ["started", "joined"]
