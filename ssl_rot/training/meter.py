"""Loss and accuracy over a whole split, by one process or several."""

from __future__ import annotations

import torch
from torch import Tensor

from ssl_rot.training.distributed import Group


class Meter:
    """Loss and accuracy per sample: sums and counts over a whole split, divided once.

    The sums stay on the device until they are read, so that a GPU need not wait every step.
    """

    def __init__(self) -> None:
        self.losses: list[Tensor] = []
        self.hits: list[Tensor] = []
        self.sizes: list[int] = []

    def add(self, loss: Tensor, logits: Tensor, targets: Tensor) -> None:
        """Takes a step's mean loss, its logits ``[B, K]`` and targets ``[B]``."""
        self.losses.append(loss.detach())
        self.hits.append((logits.argmax(1) == targets).sum())
        self.sizes.append(len(targets))

    def first_non_finite(self, group: Group, since: int = 0) -> int | None:
        """The first step, from 0, whose loss is not finite in one of the processes."""
        bad = ~torch.isfinite(group.sum(torch.stack(self.losses[since:])))
        return since + int(bad.int().argmax()) if bool(bad.any()) else None

    def means(self, group: Group | None = None) -> tuple[float, float, int]:
        """Mean loss, accuracy and number of the samples seen so far, by all of a group."""
        sums = torch.zeros(3, dtype=torch.float64)
        if self.losses:
            sizes = torch.tensor(self.sizes, dtype=torch.float64)
            losses = torch.stack(self.losses).cpu().double()
            hits = torch.stack(self.hits).sum().cpu().double()
            sums = torch.stack([losses @ sizes, hits, sizes.sum()])
        loss, hit, count = (sums if group is None else group.sum(sums)).tolist()
        return loss / count, hit / count, int(count)
