"""Checkpoints of a phase: whole or not there, and unable to run code when they are read."""

from __future__ import annotations

import hashlib
import io
import logging
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ssl_rot import files
from ssl_rot.training.signals import Interrupts

log = logging.getLogger(__name__)

_MAGIC = b"ssl_rot checkpoint 1\n"
_DIGEST = hashlib.sha256().digest_size


class Checkpoints:
    """The checkpoints of one phase, in a folder of their own.

    Args:
        folder: made when the first is written.
        every: epochs from one to the next.
        keep: how many to keep, the latest; ``None`` for all.
        interrupts: a signal asks for a checkpoint now, and for the end after it.
    """

    def __init__(
        self, folder: Path, *, every: int, keep: int | None, interrupts: Interrupts
    ) -> None:
        self.folder, self.every, self.keep, self.interrupts = folder, every, keep, interrupts

    def save(self, epoch: int, snapshot: Callable[[], dict[str, Any]]) -> None:
        """Writes a checkpoint if it is time to, and ends the phase if a signal asked for that.

        Raises:
            Interrupted: a signal came since the last epoch; nothing of this epoch is lost.
        """
        if epoch % self.every == 0 or self.interrupts.pending:
            state = snapshot()
            last = state["history"][-1]
            name = f"epoch{epoch:05d}-acc{last['test_acc']:.4f}-loss{last['test_loss']:.4f}.ckpt"
            write(self.folder / name, state)
            if self.keep is not None:
                for path in self.paths()[: -self.keep]:
                    path.unlink()
        self.interrupts.raise_pending()

    def latest(self) -> dict[str, Any] | None:
        """The last state that can be read; a damaged one is put aside with a warning.

        Where it is, it would count among the latest, and ones of earlier epochs would go for it.
        """
        for path in reversed(self.paths()):
            try:
                return read(path)
            except ValueError as error:
                log.warning("Passing over a damaged checkpoint: %s", error)
                path.replace(path.with_suffix(".damaged"))
        return None

    def paths(self) -> list[Path]:
        """The checkpoints there are, oldest first."""
        return sorted(self.folder.glob("epoch*.ckpt"))


def write(path: Path, state: dict[str, Any]) -> None:
    """Writes ``state``: a reader finds all of it under ``path``, or what was there before.

    Raises:
        StorageError: the disk is full, or cannot be written.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    payload = buffer.getvalue()
    files.write(path, _MAGIC + hashlib.sha256(payload).digest() + payload)


def read(path: Path) -> dict[str, Any]:
    """Reads what :func:`write` wrote.

    Raises:
        ValueError: the file is cut short, changed, or none of ours.
    """
    content = path.read_bytes()
    start = len(_MAGIC) + _DIGEST
    digest, payload = content[len(_MAGIC) : start], content[start:]
    if not content.startswith(_MAGIC) or hashlib.sha256(payload).digest() != digest:
        raise ValueError(f"{path} is cut short, changed, or no checkpoint of ours")
    # A matching hash says that the file is whole, not who wrote it: no pickled code is run.
    try:
        state: dict[str, Any] = torch.load(
            io.BytesIO(payload), map_location="cpu", weights_only=True
        )
    except (pickle.UnpicklingError, RuntimeError) as error:
        raise ValueError(f"{path} holds what no checkpoint of ours does") from error
    return state
