"""What torchrun's processes other than the first do: they train the phases that it assigns."""

from __future__ import annotations

import logging
import signal
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ssl_rot.errors import UserError
from ssl_rot.experiment.context import TrainingContext, load_training_context
from ssl_rot.experiment.phases import PHASES
from ssl_rot.training.distributed import Group, PhaseStopped
from ssl_rot.training.loop import fit
from ssl_rot.training.signals import SIGNALS


@dataclass(frozen=True)
class Assignment:
    """One of :data:`PHASES`, to be trained from the ``state`` of a checkpoint if there is one."""

    config: dict[str, Any]
    phase: str
    state: dict[str, Any] | None


def follow(group: Group) -> None:
    """Takes part in training until the first process is done.

    The first process decides which weights to start from, when to stop and what signals do.
    """
    for signum in SIGNALS:
        signal.signal(signum, signal.SIG_IGN)
    logging.getLogger("ssl_rot").setLevel(logging.ERROR)  # the first process reports everything
    context: TrainingContext | None = None
    while (assignment := group.receive()) is not None:
        if context is None or context.config != assignment.config:
            context = load_training_context(assignment.config)
        # The starting weights come from the first process.
        phase = PHASES[assignment.phase](context, None)
        with suppress(PhaseStopped, UserError):  # the first process reports the same error
            fit(phase, context.compute, log=lambda *_: None, state=assignment.state)
