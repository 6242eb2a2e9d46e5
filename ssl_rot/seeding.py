"""Random numbers that depend on a seed and a name, never on what ran before.

Both arms of a comparison must see the same label subset, head, batch order and augmentation, and a
resumed run must go on as if it had never stopped. So nothing draws from a global stream: each use
asks for a generator of its own, named by what it is for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive(seed: int, *names: str | int) -> int:
    """A 63-bit seed from ``seed`` and the names of what it is for; the same on every machine."""
    text = "\x1f".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *names: str | int) -> torch.Generator:
    """A fresh CPU generator for one use, e.g. ``generator(seed, "downstream", "order", epoch)``."""
    return torch.Generator().manual_seed(derive(seed, *names))


@contextmanager
def seeded(seed: int, *names: str | int) -> Iterator[None]:
    """Runs code that draws from torch's global stream, and leaves that stream as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(derive(seed, *names))
        yield
