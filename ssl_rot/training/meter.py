"""Loss and accuracy over a whole split, in one process or several."""

from __future__ import annotations

import torch
from torch import Tensor

from ssl_rot.training.distributed import Group


class Meter:
    """Loss and accuracy per sample: sums and counts over a whole split, divided once.

    The values stay on the device until they are read, so that no step waits for the GPU.
    """

    def __init__(self) -> None:
        self.losses: list[Tensor] = []
        self.hits: list[Tensor] = []
        self.sizes: list[int] = []

    def add(self, loss: Tensor, logits: Tensor, targets: Tensor) -> None:
        """Adds the mean loss of a step, its logits ``[B, K]`` and its targets ``[B]``."""
        self.losses.append(loss.detach())
        self.hits.append((logits.argmax(1) == targets).sum())
        self.sizes.append(len(targets))

    def first_non_finite(self, group: Group, since: int = 0) -> int | None:
        """The first step (from 0, not before ``since``) whose loss is not finite in any process."""
        bad = ~torch.isfinite(group.sum(torch.stack(self.losses[since:])))
        return since + int(bad.int().argmax()) if bool(bad.any()) else None

    def means(self, group: Group | None = None) -> tuple[float, float, int]:
        """Mean loss, accuracy and number of the samples so far, over all processes of ``group``."""
        sums = torch.zeros(3, dtype=torch.float64)
        if self.losses:
            sizes = torch.tensor(self.sizes, dtype=torch.float64)
            losses = torch.stack(self.losses).cpu().double()
            hits = torch.stack(self.hits).sum().cpu().double()
            sums = torch.stack([losses @ sizes, hits, sizes.sum()])
        loss, hit, count = (sums if group is None else group.sum(sums)).tolist()
        return loss / count, hit / count, int(count)
