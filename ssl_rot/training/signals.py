"""Signals that ask a run to stop. During training they take effect when the epoch ends."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import FrameType

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""The signals that ask a run to stop. SIGHUP means that its terminal is gone. Under submitit, SLURM
sends SIGUSR2 before the time limit. submitit's own handler would requeue the job and end it without
a checkpoint, so it is replaced."""


class Interrupted(KeyboardInterrupt):
    """The signal ``signum`` stopped the run."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum


class Interrupts:
    """Turns :data:`SIGNALS` into :class:`Interrupted`.

    During training, the first signal takes effect when the epoch ends, so that the epoch can be
    saved; otherwise it takes effect immediately. After the first signal only SIGINT counts, and
    takes effect immediately: it is a second Ctrl-C. The other signals come from programs, and
    several programs may announce the same shutdown.

    Args:
        before_exit: called before a first signal takes effect outside of training; a second SIGINT
            interrupts it.
    """

    def __init__(self, before_exit: Callable[[], None] = lambda: None) -> None:
        self.pending: int | None = None  # the first signal received
        self._before_exit = before_exit
        self._training = False
        self._deferred: list[int] | None = None  # while they are deferred

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self._deferred is not None:
            self._deferred.append(signum)
            return
        is_first = self.pending is None
        if not is_first and signum != signal.SIGINT:
            return
        self.pending = signum
        if self._training and is_first:
            name = signal.Signals(signum).name
            log.warning("%s received: stopping after this epoch (press Ctrl-C to stop now)", name)
            return
        if is_first:
            self._before_exit()
        raise Interrupted(signum)

    def raise_pending(self) -> None:
        """Stops the run if a signal was received."""
        if self.pending is not None:
            raise Interrupted(self.pending)

    @contextmanager
    def installed(self) -> Iterator[Interrupts]:
        """Handles the signals inside the block. Does nothing outside of the main thread.

        A SIGHUP that is ignored stays ignored: the program was started with ``nohup``.
        """
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        previous = {
            signum: signal.signal(signum, self._handle)
            for signum in SIGNALS
            if (signum, signal.getsignal(signum)) != (signal.SIGHUP, signal.SIG_IGN)
        }
        outer = getattr(previous[signal.SIGINT], "__self__", None)
        try:
            # Python drops an exception raised in a __del__; the signal is still pending then.
            if isinstance(outer, Interrupts):
                outer.raise_pending()
            yield self
        finally:
            if isinstance(outer, Interrupts):
                outer.pending = outer.pending or self.pending
            for signum, handler in previous.items():
                signal.signal(signum, handler)

    @contextmanager
    def deferring(self) -> Iterator[None]:
        """Signals take effect at the end of the block, which must be short."""
        self._deferred = []
        try:
            yield
        finally:
            deferred, self._deferred = self._deferred, None
            for signum in deferred:
                self._handle(signum, None)

    @contextmanager
    def training(self) -> Iterator[None]:
        """Defers the first signal to :meth:`raise_pending`, or to the end of the block."""
        self._training = True
        try:
            yield
        finally:
            self._training = False
        self.raise_pending()


@contextmanager
def deferred_signals() -> Iterator[None]:
    """Signals take effect at the end of the block, if an :class:`Interrupts` handles them."""
    interrupts = getattr(signal.getsignal(signal.SIGINT), "__self__", None)
    with interrupts.deferring() if isinstance(interrupts, Interrupts) else nullcontext():
        yield
