"""What a backbone's features are worth while a pretext task trains it. No weight is changed.

Weighted nearest neighbors: Wu, Xiong, Yu and Lin, "Unsupervised Feature Learning via Non-Parametric
Instance Discrimination", CVPR 2018. RankMe: Garrido, Balestriero, Najman and LeCun, "RankMe:
Assessing the Downstream Performance of Pretrained Self-Supervised Representations by Their Rank",
ICML 2023.
"""

import time
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ssl_rot.data import Batches
from ssl_rot.models import Backbone
from ssl_rot.training.compute import Compute

NEIGHBORS = 20
TEMPERATURE = 0.07


@dataclass(frozen=True)
class Monitors:
    """Measures every ``every`` epochs, in the first epoch and in the last.

    Args:
        labeled: the images whose labels vote, in eval mode; ``None`` for no nearest neighbors.
        held_out: the images that are classified by them.
        sample: the images whose features' rank is measured; ``None`` for no rank.
        knn_name: the metric of the nearest neighbors.
    """

    every: int
    labeled: Batches | None
    held_out: Batches | None
    sample: Batches | None
    knn_name: str = "knn_acc"

    def measure(
        self, backbone: Backbone, compute: Compute, epoch: int, last: int
    ) -> dict[str, float]:
        """The metrics of an epoch (from 1) of ``last``; empty if none are due."""
        if epoch not in (1, last) and epoch % self.every:
            return {}
        started = time.perf_counter()
        metrics = {}
        if self.labeled is not None and self.held_out is not None:
            bank, queries = (_features(b, backbone, compute) for b in (self.labeled, self.held_out))
            metrics[self.knn_name] = knn_accuracy(*bank, *queries)
        if self.sample is not None:
            metrics["rank"] = effective_rank(_features(self.sample, backbone, compute)[0])
        return metrics | {"monitor_seconds": time.perf_counter() - started}


def _features(batches: Batches, backbone: Backbone, compute: Compute) -> tuple[Tensor, Tensor]:
    """Pooled features, float32 ``[N, C]``, and targets, int64 ``[N]``."""
    backbone.eval()
    features, labels = [], []
    with torch.inference_mode():
        for inputs, targets in batches.epoch(0):
            features.append(compute.forward(backbone, inputs).float().mean((2, 3)))
            labels.append(targets)
    return torch.cat(features), torch.cat(labels)


def knn_accuracy(bank: Tensor, labels: Tensor, queries: Tensor, targets: Tensor) -> float:
    """How often the nearest of ``bank`` agree on a query's target.

    The nearest ``NEIGHBORS`` by cosine similarity vote for their label, each with the weight
    exp(similarity / ``TEMPERATURE``).

    Args:
        bank: ``[N, C]``, with ``labels`` ``[N]``.
        queries: ``[M, C]``, with ``targets`` ``[M]``.
    """
    bank = normalize(bank, dim=1)
    count = int(torch.max(labels.max(), targets.max())) + 1
    hits = 0
    parts = torch.split(normalize(queries, dim=1), 1024), torch.split(targets, 1024)
    for part, goals in zip(*parts, strict=True):
        nearest = (part @ bank.T).topk(min(NEIGHBORS, len(bank)))
        # Relative to the nearest, as exp would not change which class wins.
        weights = ((nearest.values - nearest.values[:, :1]) / TEMPERATURE).exp()
        votes = weights.new_zeros(len(part), count).scatter_add_(
            1, labels[nearest.indices], weights
        )
        hits += int((votes.argmax(1) == goals).sum())
    return hits / len(queries)


def effective_rank(features: Tensor) -> float:
    """RankMe of ``[N, C]``: the exponential of the entropy of the singular values' shares."""
    values = torch.linalg.svdvals(features.double().cpu())
    if not values.sum() > 0:
        return 0.0
    shares = values / values.sum() + 1e-7
    return float((-(shares * shares.log()).sum()).exp())
