"""Errors that a user can fix, each reported in one message without a traceback.

Every error that is meant for the user is a :class:`UserError`: it says what is wrong, where, and
how to fix it. Anything else is a bug in this package and keeps its traceback.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

EXIT_STATUS = 2
"""The exit status of a program that a :class:`UserError` ended."""


def as_text(value: Any) -> str:
    """A config value as it is written on the command line."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def without_password(text: str) -> str:
    """The text with the passwords of the addresses in it masked."""
    text = re.sub(r"(://[^/:\s]*:)\S*@", r"\1***@", text)
    return re.sub(r"([?&]password\\?=)[^&\s]*", r"\1***", text)


def describe_error(error: BaseException) -> str:
    """An error in one line, for a tag or a table."""
    text = (str(error).splitlines() or [""])[0]
    return without_password(f"{type(error).__name__}: {text}")[:500]


class UserError(Exception):
    """A mistake that the user can fix: ends the program with :data:`EXIT_STATUS` and a message."""


class ConfigError(UserError):
    """All faults of a config, one line each: the key, its value, and what is allowed."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = list(faults)
        count = "a fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        lines = "".join(f"\n  - {fault}" for fault in self.faults)
        super().__init__(f"The config has {count}; nothing was started:{lines}")


class DataError(UserError):
    """The data is missing, unreadable, or not what the config says it is."""


class WeightsError(UserError):
    """A weights file is missing, damaged, or does not fit the model."""


class TrackingError(UserError):
    """The tracking store cannot be reached, or does not contain what was requested."""

    def __init__(self, message: str) -> None:
        super().__init__(without_password(message))


@contextmanager
def store_errors(what: str, hint: str = "") -> Iterator[None]:
    """Turns whatever a store raises inside the block into a :class:`TrackingError`.

    Args:
        what: the operation that failed, as the start of the message.
        hint: the end of the message.
    """
    try:
        yield
    except TrackingError:
        raise
    except Exception as error:  # each kind of store raises its own errors
        raise TrackingError(f"{what}: {describe_error(error)}{hint}") from error


class StorageError(UserError):
    """The operating system could not write a file."""

    def __init__(self, path: object, error: OSError) -> None:
        super().__init__(
            f"{path} cannot be written: {error.strerror}. Once this is fixed, the same command "
            "with resume=true continues from the last checkpoint."
        )


class ExportError(UserError):
    """A model cannot be exported there, or in that format, or not be uploaded."""


class ResumeError(UserError):
    """``resume=true`` found a run, but with a different config."""


class NonFiniteLoss(UserError):
    """The loss became NaN or infinite in a step of an epoch, both counted from 1."""

    def __init__(self, phase: str, epoch: int, step: int, lr: float, lr_key: str) -> None:
        super().__init__(
            f"The {phase} loss is not finite at epoch {epoch}, step {step} (lr {lr:g}). "
            f"The usual cause is a learning rate that is too high: try {lr_key}={lr / 10:g}."
        )


class CompileFailed(UserError):
    """``compile=true`` does not work here; quotes torch's compiler."""

    def __init__(self, error: Exception) -> None:
        first, *others = str(error).splitlines() or [type(error).__name__]
        operator = [line for line in others if line.startswith("Error in op:")]
        reason = "; ".join([first, *operator])
        super().__init__(
            f"compile=true does not work here: {reason}\n"
            "torch.compile needs a C++ compiler (on a GPU also Triton) and cannot handle every "
            "network; compile=false trains the same network without it."
        )


class LostProcesses(UserError):
    """The other processes of torchrun were abandoned in the middle of a phase."""

    def __init__(self) -> None:
        super().__init__(
            "After the earlier error, the other processes of torchrun are stuck in the middle of "
            "a phase; run the same command again with resume=true"
        )


class SweepFailed(UserError):
    """A sweep, or one of its jobs, did not finish; the other jobs are not affected."""
