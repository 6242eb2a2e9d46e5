"""Features of a frozen backbone, computed once instead of every epoch."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ssl_rot.data import Batches
from ssl_rot.models import Backbone
from ssl_rot.training.compute import Compute
from ssl_rot.transfer import to_device

MEMORY_LIMIT = 2 * 1024**3
"""Bytes of features that a split may take; larger ones are recomputed every epoch."""


class Features:
    """Replaces :class:`Batches`, with the backbone's feature maps instead of images.

    The batches have the same order and composition as those of ``batches``, so the head trains on
    the same numbers either way. ``features`` are those of ``batches.images``, ``[N, C', H', W']``.
    """

    def __init__(self, batches: Batches, features: Tensor, labels: Tensor) -> None:
        self.batches, self.features, self.labels = batches, features, labels
        self.weights = batches.weights

    def __len__(self) -> int:
        """Steps per epoch."""
        return len(self.batches)

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All batches of one epoch: features ``[B, C', H', W']`` and int64 ``[B]``."""
        for rows in self.batches.rows(epoch):
            index = to_device(rows, self.features.device)
            yield self.features[index], self.labels[index]


def precompute(batches: Batches, backbone: Backbone, compute: Compute) -> Features | None:
    """Runs a whole split through ``backbone`` in eval mode.

    ``None`` if the inputs change from epoch to epoch, or the features exceed :data:`MEMORY_LIMIT`.
    """
    if not batches.same_every_epoch or batches.task is not None:
        return None
    backbone.eval()
    stored = None
    with torch.no_grad():
        # Every process needs all features, since each epoch distributes them differently.
        whole = batches.whole()
        for rows, (inputs, targets) in zip(whole.rows(1), whole.epoch(1), strict=True):
            maps = compute.forward(backbone, inputs)
            if stored is None:
                count = len(batches.images)
                if count * maps[0].numel() * maps.element_size() > MEMORY_LIMIT:
                    return None
                features = maps.new_empty((count, *maps.shape[1:]))
                stored = Features(batches, features, targets.new_empty(count))
            index = to_device(rows, maps.device)
            stored.features[index] = maps
            stored.labels[index] = targets
    return stored
