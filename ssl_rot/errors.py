"""What a user can get wrong, told in one message without a traceback.

Every error that reaches a user on purpose is a :class:`UserError`: it says what is wrong, where,
and how to mend it. Anything else is a fault of ours and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def as_text(value: Any) -> str:
    """A config value as one writes it on the command line."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def describe_error(error: BaseException) -> str:
    """An error in one line, for a tag or a table."""
    text = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {text}"[:500]


class UserError(Exception):
    """A mistake the user can mend; ends the program with :data:`EXIT_STATUS` and one message."""


EXIT_STATUS = 2


class ConfigError(UserError):
    """Faults in a config, all of them at once.

    Args:
        faults: one line each: the key, its value, and what is allowed.
    """

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = list(faults)
        head = (
            "The config has a fault"
            if len(self.faults) == 1
            else (f"The config has {len(self.faults)} faults")
        )
        super().__init__(
            "\n".join([f"{head}; nothing was trained:", *(f"  - {f}" for f in faults)])
        )


class DataError(UserError):
    """The data is missing, unreadable, or not what the config says it is."""


class WeightsError(UserError):
    """A weights file is missing, damaged, or does not fit the model."""


class TrackingError(UserError):
    """The tracking store cannot be reached, or does not hold what was asked for."""


class StorageError(UserError):
    """A file could not be written.

    Args:
        path: of the file.
        error: what the operating system says.
    """

    def __init__(self, path: object, error: OSError) -> None:
        super().__init__(
            f"{path} cannot be written: {error.strerror}. Once it can be, the same command with "
            "resume=true goes on from the last checkpoint."
        )


class ResumeError(UserError):
    """``resume=true`` found a run, but not of this config."""


class NonFiniteLoss(UserError):
    """The loss became NaN or infinite.

    Args:
        phase: ``pretext`` or ``downstream``.
        epoch: from 1.
        step: within the epoch, from 1.
        lr: the learning rate of that step.
        lr_key: the config key that sets it.
    """

    def __init__(self, phase: str, epoch: int, step: int, lr: float, lr_key: str) -> None:
        super().__init__(
            f"The {phase} loss is not finite at epoch {epoch}, step {step} (lr {lr:g}). "
            f"The learning rate is most often too high: try {lr_key}={lr / 10:g}."
        )


class CompileFailed(UserError):
    """``compile=true`` does not work here; says what torch's compiler said."""

    def __init__(self, error: Exception) -> None:
        lines = str(error).splitlines()
        super().__init__(
            f"compile=true does not work here: {lines[0] if lines else type(error).__name__}\n"
            "torch.compile needs a C++ compiler (a GPU also triton) and a network it can follow; "
            "compile=false trains the same without it."
        )


class LostProcesses(UserError):
    """The other processes of torchrun were left in the middle of a phase."""

    def __init__(self) -> None:
        super().__init__(
            "The other processes cannot follow after what happened before; start the same command "
            "again, with resume=true"
        )


class SweepFailed(UserError):
    """A sweep, or a job of one, did not finish; its other jobs are not touched by that."""
