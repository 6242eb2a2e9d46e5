"""Loss, accuracy and predictions of a network in eval mode."""

import math
import time
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ssl_rot.data import Batches
from ssl_rot.training.compute import Compute
from ssl_rot.training.distributed import Group
from ssl_rot.training.features import Features


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


def evaluate(
    model: nn.Module,
    batches: Batches | Features,
    loss_fn: nn.Module,
    compute: Compute,
    label: str = "test",
) -> tuple[float, float]:
    """Mean loss and accuracy of ``model`` in eval mode over the whole split, per sample."""
    meter = Meter()
    model.eval()
    with torch.inference_mode():
        silent = compute.group.rank > 0
        for inputs, targets in progress(batches.epoch(0), len(batches), label, meter, silent):
            logits = compute.logits(model, inputs)
            meter.add(loss_fn(logits, targets), logits, targets)
    return meter.means(compute.group)[:2]


class Predictions(NamedTuple):
    """The predictions for a whole split, in its order, on the CPU.

    Args:
        classes: predicted, int64 ``[N]``.
        targets: int64 ``[N]``.
        probabilities: of the predicted classes, by softmax, float32 ``[N]``.
    """

    classes: Tensor
    targets: Tensor
    probabilities: Tensor

    @property
    def accuracy(self) -> float:
        return float((self.classes == self.targets).double().mean())


def predict(model: nn.Module, batches: Batches, compute: Compute) -> Predictions:
    """Predicts a whole split with ``model`` in eval mode."""
    model.eval()
    parts = []
    with torch.inference_mode():
        for inputs, targets in batches.whole().epoch(0):
            logits = compute.logits(model, inputs)
            classes = logits.argmax(1)
            probabilities = logits.softmax(1).gather(1, classes[:, None])[:, 0]
            parts.append((classes.cpu(), targets.cpu(), probabilities.cpu()))
    return Predictions(*(torch.cat(part) for part in zip(*parts, strict=True)))


def progress(
    batches: Iterator[tuple[Tensor, Tensor]], total: int, label: str, meter: Meter, silent: bool
) -> Iterator[tuple[Tensor, Tensor]]:
    """A progress bar with the running loss and accuracy; hidden if there is no terminal."""
    with tqdm(batches, total=total, desc=label, leave=False, disable=silent or None) as bar:
        updated = -math.inf
        for batch in bar:
            yield batch
            if not bar.disable and time.monotonic() - updated > 0.5:
                loss, accuracy, _ = meter.means()
                bar.set_postfix(loss=f"{loss:.3f}", acc=f"{accuracy:.3f}", refresh=False)
                updated = time.monotonic()
