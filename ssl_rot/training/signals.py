"""Signals that ask a run to end: in the middle of training they wait for the epoch's end."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

log = logging.getLogger(__name__)

SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
)
"""What asks a run to end. SLURM's warning is SIGUSR2 where submitit has submitted the job: it has a
handler of its own there, which would submit the job again and end it without a checkpoint."""


class Interrupted(KeyboardInterrupt):
    """A signal ended the run; ``signum`` says which."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum


class Interrupts:
    """Turns :data:`SIGNALS` into :class:`Interrupted`.

    While training a first signal waits until the epoch is over, so that it can be kept; outside of
    training it ends at once. After it only SIGINT counts, and ends at once: a second Ctrl-C. The
    others are sent by programs, of which several may ask for the same end.

    Args:
        before: called before a first signal ends what is no training; a second SIGINT ends it.
    """

    def __init__(self, before: Callable[[], None] = lambda: None) -> None:
        self.pending: int | None = None
        self._before = before
        self._training = False

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        first = self.pending is None
        if not first and signum != signal.SIGINT:
            return
        self.pending = signum
        if self._training and first:
            name = signal.Signals(signum).name
            log.warning("%s: stopping after this epoch (Ctrl-C to stop now)", name)
            return
        if first:
            self._before()
        raise Interrupted(signum)

    def raise_pending(self) -> None:
        """Ends the run if a signal came."""
        if self.pending is not None:
            raise Interrupted(self.pending)

    @contextmanager
    def installed(self) -> Iterator[Interrupts]:
        """Handles the signals inside the block; elsewhere than in the main thread, does nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {signum: signal.signal(signum, self._handle) for signum in SIGNALS}
        outer = getattr(before[signal.SIGINT], "__self__", None)
        try:
            # Python drops what is raised while an object is being deleted: the signal is then here.
            if isinstance(outer, Interrupts):
                outer.raise_pending()
            yield self
        finally:
            if isinstance(outer, Interrupts):
                outer.pending = outer.pending or self.pending
            for signum, handler in before.items():
                signal.signal(signum, handler)

    @contextmanager
    def training(self) -> Iterator[None]:
        """Inside the block a signal waits for :meth:`raise_pending`, at the latest for its end."""
        self._training = True
        try:
            yield
        finally:
            self._training = False
        self.raise_pending()
