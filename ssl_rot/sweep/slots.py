"""The slots of a machine: how many jobs run at once, and what each may use."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from ssl_rot.errors import ConfigError, as_text

CARDS_VARIABLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Slot:
    """What one job at a time may use.

    Args:
        number: from 0.
        cores: of the processor, by number.
        threads: of torch.
        card: the GPU, as in ``CUDA_VISIBLE_DEVICES``; ``None`` leaves that as it is.
    """

    number: int
    cores: tuple[int, ...]
    threads: int
    card: str | None = None

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables of a job in this slot."""
        threads = {name: str(self.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        return threads if self.card is None else threads | {CARDS_VARIABLE: self.card}


def find_setting_faults(launcher: Mapping[str, Any]) -> list[str]:
    """The faults of ``hydra.launcher.slots``, ``gpus`` and ``per_gpu``."""
    rules = {
        "slots": (1, "auto, or a whole number of at least 1"),
        "gpus": (0, "auto, or a whole number of at least 0"),
        "per_gpu": (1, "a whole number of at least 1"),
    }
    faults = []
    for key, (least, allowed) in rules.items():
        value = launcher[key]
        is_number = isinstance(value, int) and not isinstance(value, bool) and value >= least
        if not is_number and not (value == "auto" and "auto" in allowed):
            given = f"hydra.launcher.{key}={as_text(value)}"
            faults.append(f"{given} is not allowed; it must be {allowed}")
    return faults


def open_slots(config: DictConfig) -> tuple[Slot, ...]:
    """The slots of a sweep with ``hydra/launcher=parallel``.

    Raises:
        ConfigError: see :func:`make_slots`.
    """
    launcher = config.hydra.launcher
    cards = visible_cards() if config.device in ("auto", "cuda") else []
    slots = make_slots(launcher, usable_cores(), cards)
    if cards and launcher.per_gpu > 1:
        print(describe_sharing(launcher.per_gpu))
    return slots


def make_slots(
    launcher: Mapping[str, Any], cores: Sequence[int], cards: Sequence[str]
) -> tuple[Slot, ...]:
    """The slots for valid settings.

    Args:
        launcher: ``slots``, ``gpus`` and ``per_gpu``.
        cores: that this process may use.
        cards: that it sees; none if the jobs train on the CPU.

    Raises:
        ConfigError: there are fewer cards than asked for, or more slots than fit on them.
    """
    gpus, per_gpu = launcher["gpus"], launcher["per_gpu"]
    if gpus != "auto":
        if gpus > len(cards):
            seen = f"this process sees {len(cards)}"
            raise ConfigError([f"hydra.launcher.gpus={gpus} is not allowed: {seen}"])
        cards = cards[:gpus]
    on_cards = len(cards) * per_gpu
    count = launcher["slots"]
    if count == "auto":
        count = on_cards or len(cores)
    elif cards and count > on_cards:
        raise ConfigError(
            [
                f"hydra.launcher.slots={count} is not allowed: with hydra.launcher.per_gpu="
                f"{per_gpu}, {len(cards)} GPUs take {on_cards} jobs at once; raise per_gpu"
            ]
        )
    threads = max(1, len(cores) // count)
    hidden = "" if gpus == 0 else None  # asked for: the jobs are to see no card
    return tuple(
        Slot(
            number,
            cores=tuple(cores[(number * threads + i) % len(cores)] for i in range(threads)),
            threads=threads,
            card=cards[number % len(cards)] if cards else hidden,
        )
        for number in range(count)
    )


def usable_cores() -> list[int]:
    """The processor's cores that this process may use, by number."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def visible_cards() -> list[str]:
    """The GPUs that this process sees, as one writes them in ``CUDA_VISIBLE_DEVICES``."""
    import torch

    count = torch.cuda.device_count()
    chosen = os.environ.get(CARDS_VARIABLE)
    names = [str(n) for n in range(count)] if chosen is None else chosen.split(",")
    return [name.strip() for name in names][:count]


def describe_sharing(per_gpu: int) -> str:
    """Whether CUDA MPS, without which jobs take turns on a card, runs on this machine."""
    pipes = Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps"))
    if (pipes / "control").exists():
        return f"{per_gpu} jobs share each GPU. CUDA MPS is running, so they compute side by side."
    return (
        f"{per_gpu} jobs share each GPU. CUDA MPS is not running, so they take turns and gain "
        "little; start it with: nvidia-cuda-mps-control -d"
    )
