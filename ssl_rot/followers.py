"""What the processes of torchrun do that are not the first: train what it tells them to."""

from __future__ import annotations

import logging
import signal
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ssl_rot.distributed import Group, Stopped
from ssl_rot.errors import UserError
from ssl_rot.interrupt import SIGNALS
from ssl_rot.job import Setting, settle
from ssl_rot.tasks import TASKS


@dataclass(frozen=True)
class Order:
    """A phase to train.

    Args:
        config: of the run, valid and resolved.
        phase: which of the :data:`TASKS`.
        state: of an interrupted phase, to go on from.
    """

    config: dict[str, Any]
    phase: str
    state: dict[str, Any] | None


def follow(group: Group) -> None:
    """Trains along until the first process is done.

    Where to start from, when to stop and what becomes of signals is that one's to decide.
    """
    for signum in SIGNALS:
        signal.signal(signum, signal.SIG_IGN)
    logging.getLogger("ssl_rot").setLevel(logging.ERROR)  # the first process says it all
    setting: Setting | None = None
    while (order := group.hear()) is not None:
        if setting is None or setting.config != order.config:
            setting = settle(order.config)
        # The starting weights come from the first process.
        task = TASKS[order.phase](setting, None)
        with suppress(Stopped, UserError):  # the first process has met with the same, and tells it
            task.fit(setting, log=lambda *_: None, state=order.state)
