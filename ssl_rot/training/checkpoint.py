"""Checkpoints of a phase: written atomically, and safe to read, since loading runs no code."""

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


class Checkpoints:
    """The checkpoints of one phase, in a folder of their own.

    Args:
        folder: created with the first checkpoint.
        every: epochs between two checkpoints.
        keep: how many of the latest to keep; ``None``: all.
        interrupts: a pending signal causes a checkpoint, then ends the phase.
    """

    def __init__(
        self, folder: Path, *, every: int, keep: int | None, interrupts: Interrupts
    ) -> None:
        self.folder, self.every, self.keep, self.interrupts = folder, every, keep, interrupts

    def save(self, epoch: int, snapshot: Callable[[], dict[str, Any]]) -> None:
        """Writes a checkpoint if one is due, and ends the phase if a signal is pending.

        The epoch (from 1) has just ended; the state has the metrics of each epoch as ``history``.

        Raises:
            Interrupted: a signal was received during the epoch, which is saved.
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
        """The latest readable state. Damaged checkpoints are renamed, with a warning.

        Under its old name a damaged one would count as the latest, and ``keep`` would delete good
        ones of earlier epochs in its place.
        """
        for path in reversed(self.paths()):
            try:
                return read(path)
            except ValueError as error:
                log.warning("Skipping a damaged checkpoint: %s", error)
                path.replace(path.with_suffix(".damaged"))
        return None

    def paths(self) -> list[Path]:
        """The existing checkpoints, oldest first."""
        return sorted(self.folder.glob("epoch*.ckpt"))


def write(path: Path, state: dict[str, Any]) -> None:
    """Writes a state like :func:`ssl_rot.files.write`, with a hash that proves it complete."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    payload = buffer.getvalue()
    files.write(path, _MAGIC + hashlib.sha256(payload).digest() + payload)


def read(path: Path) -> dict[str, Any]:
    """Reads what :func:`write` wrote.

    Raises:
        ValueError: the file is truncated or altered, or is not such a checkpoint.
    """
    content = path.read_bytes()
    start = len(_MAGIC) + hashlib.sha256().digest_size
    digest, payload = content[len(_MAGIC) : start], content[start:]
    if not content.startswith(_MAGIC) or hashlib.sha256(payload).digest() != digest:
        raise ValueError(f"{path} is truncated, altered, or not an ssl_rot checkpoint")
    state: dict[str, Any]
    try:  # the hash does not prove who wrote the file: run no pickled code
        state = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError) as error:
        raise ValueError(f"{path} contains objects that no ssl_rot checkpoint has") from error
    return state
