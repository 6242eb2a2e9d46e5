"""Random numbers that depend on a seed and a name, never on what ran before.

Both arms of a comparison must see the same label subset, head, batch order and augmentation, and a
resumed run must continue as if it had never been interrupted. So nothing draws from a global
stream: each use gets a generator of its own, named after its purpose.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive(seed: int, *names: str | int) -> int:
    """A 63-bit seed from ``seed`` and the names of its purpose; the same on every machine."""
    text = "\x1f".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *names: str | int) -> torch.Generator:
    """A new CPU generator for one purpose: ``generator(seed, "downstream", "order", epoch)``."""
    return torch.Generator().manual_seed(derive(seed, *names))


@contextmanager
def seeded(seed: int, *names: str | int) -> Iterator[None]:
    """Seeds torch's global streams inside the block and restores them after it.

    For code that takes no generator, such as dropout and torch's initializers. Covers the CPU and
    the accelerator in use; a process that has not used CUDA does not initialize it here.
    """
    kind, devices = "cuda", []
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        devices = [torch.cuda.current_device()]
    elif torch.backends.mps.is_available():
        kind, devices = "mps", [0]
    with torch.random.fork_rng(devices, device_type=kind):
        # Not torch.manual_seed, which seeds every GPU, and queues that for one not used yet.
        torch.default_generator.manual_seed(derive(seed, *names))
        if devices:
            torch.get_device_module(kind).manual_seed(derive(seed, *names))
        yield
