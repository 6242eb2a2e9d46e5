"""Loss, accuracy and predictions of a network in eval mode."""

import math
import time
from collections.abc import Iterator

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


def predict(model: nn.Module, batches: Batches, compute: Compute) -> tuple[Tensor, Tensor]:
    """Predicted classes and targets of a whole split, both int64 ``[N]`` on the CPU."""
    model.eval()
    predictions, labels = [], []
    with torch.inference_mode():
        for inputs, targets in batches.whole().epoch(0):
            predictions.append(compute.logits(model, inputs).argmax(1).cpu())
            labels.append(targets.cpu())
    return torch.cat(predictions), torch.cat(labels)


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
