"""What the processes of torchrun other than the first do: train the phases that it names."""

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
    """A phase to train.

    Args:
        config: of the run, valid and resolved.
        phase: one of :data:`PHASES`.
        state: from the checkpoint of an interrupted phase, to continue from.
    """

    config: dict[str, Any]
    phase: str
    state: dict[str, Any] | None


def follow(group: Group) -> None:
    """Trains along until the first process is done.

    Which weights to start from, when to stop and how to react to signals is decided there.
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
