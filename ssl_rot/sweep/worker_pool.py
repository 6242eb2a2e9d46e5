"""Runs jobs in processes of their own, as many at once as there are slots."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from ssl_rot.errors import describe_error
from ssl_rot.sweep import fork_server
from ssl_rot.sweep.job_process import PRETRAINED, JobOrder, JobOutcome, run_order
from ssl_rot.sweep.scheduler import Scheduler, Work
from ssl_rot.sweep.slots import Slot
from ssl_rot.training.signals import deferred_signals

_TICK = 0.2  # seconds
_PATIENCE = 10.0  # seconds for a process to end after its report


@dataclass(frozen=True)
class _Worker:
    """A process that runs a job in a slot; the connection ends with the process."""

    work: Work
    slot: Slot
    process: BaseProcess
    connection: Connection


class WorkerPool:
    """Runs jobs in the slots in the order of a scheduler.

    Args:
        orders: makes the order of a job, by its number and slot.
        ended: called with the number of a job that has ended and its report.
        idle: called once a slot stays free because no job is left to start.
    """

    def __init__(
        self,
        slots: Sequence[Slot],
        scheduler: Scheduler,
        orders: Callable[[int, Slot], JobOrder],
        ended: Callable[[int, JobOutcome], None],
        idle: Callable[[], None],
    ) -> None:
        self._free = list(reversed(slots))
        self._scheduler, self._orders, self._ended = scheduler, orders, ended
        self._idle: Callable[[], None] | None = idle
        self._workers: dict[int, _Worker] = {}

    def run(self) -> None:
        """Runs all jobs. The exception of a signal passes through."""
        try:
            while not self._scheduler.is_done:
                self._start_jobs()
                if self._idle is not None and self._free and self._scheduler.has_started_all:
                    self._idle()
                    self._idle = None
                for ready in wait([w.connection for w in self._workers.values()], timeout=_TICK):
                    self._receive(next(w for w in self._workers.values() if w.connection is ready))
        except BaseException:
            self._stop()
            raise

    def _start_jobs(self) -> None:
        while self._free and (work := self._scheduler.next()) is not None:
            slot = self._free.pop()
            order = self._orders(work.number, slot)
            with deferred_signals():  # Ctrl-C leaves no process half started
                problem = self._start(work, slot, order)
            if problem is not None:
                self._free.append(slot)
                self._report(work.number, JobOutcome(problem=problem))

    def _start(self, work: Work, slot: Slot, order: JobOrder) -> str | None:
        """Starts the process of a job. Returns why that failed, if it did."""
        receiving, sending = fork_server.context().Pipe(duplex=False)
        with sending:
            process = fork_server.context().Process(  # type: ignore[attr-defined]
                target=run_order, args=(order, sending)
            )
            try:
                process.start()
            except (OSError, EOFError) as error:  # too little memory, too many processes
                receiving.close()
                return f"its process could not be started: {describe_error(error)}"
        self._workers[work.number] = _Worker(work, slot, process, receiving)
        return None

    def _receive(self, worker: _Worker) -> None:
        try:
            message = worker.connection.recv()
        except (EOFError, OSError):
            message = JobOutcome(problem=_describe_loss(worker))
        if message == PRETRAINED:
            self._scheduler.pretrained(worker.work.number)
            return
        self._end(worker, message)

    def _end(self, worker: _Worker, report: JobOutcome) -> None:
        worker.process.join(_PATIENCE)
        if worker.process.is_alive():  # it has reported, and all it has to keep is on the disk
            worker.process.kill()
        worker.connection.close()
        number = worker.work.number
        del self._workers[number]
        self._free.append(worker.slot)
        self._report(number, report)

    def _report(self, number: int, report: JobOutcome) -> None:
        self._ended(number, report)
        for other in self._scheduler.ended(number, finished=report.problem is None):
            self._ended(other.number, report)

    def _stop(self) -> None:
        """Ends the jobs at once.

        After a first Ctrl-C none is left here, since they were waited for: this is the second.
        """
        for worker in self._workers.values():
            if worker.process.is_alive() and worker.process.pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(worker.process.pid, signal.SIGINT)
        for worker in self._workers.values():
            worker.process.join(_PATIENCE)


def _describe_loss(worker: _Worker) -> str:
    worker.process.join(_PATIENCE)
    code = worker.process.exitcode
    if code is None or code >= 0:
        return f"its process ended with status {code}"
    hint = " (too little memory?)" if -code == signal.SIGKILL else ""
    return f"its process was killed by signal {-code}, {signal.strsignal(-code)}{hint}"
