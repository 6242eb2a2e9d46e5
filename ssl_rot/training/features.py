"""Features of a frozen backbone, computed once instead of every epoch."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ssl_rot.data import Batches
from ssl_rot.models import Backbone
from ssl_rot.training.compute import Compute

MEMORY_LIMIT = 2 * 1024**3
"""Bytes of features that a split may take; larger ones are recomputed every epoch."""


class Features:
    """Replaces :class:`Batches`, with the backbone's feature maps instead of images.

    The batches have the same order and composition as those of ``batches``, so the head trains on
    the same numbers either way.

    Args:
        features: of the whole split, ``[N, C', H', W']``, in the order of ``batches.images``.
        labels: int64 ``[N]``.
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
            index = rows.to(self.features.device)
            yield self.features[index], self.labels[index]


def precompute(batches: Batches, backbone: Backbone, compute: Compute) -> Features | None:
    """Runs a whole split through ``backbone`` in eval mode.

    Returns:
        ``None`` if the inputs change from epoch to epoch (random augmentation), or if the features
        take more than :data:`MEMORY_LIMIT`.
    """
    if not batches.same_every_epoch or batches.rotate is not None:
        return None
    backbone.eval()
    features = labels = None
    with torch.no_grad():
        # Every process needs all features, since each epoch distributes them differently.
        whole = batches.whole()
        for rows, (inputs, targets) in zip(whole.rows(1), whole.epoch(1), strict=True):
            maps = compute.forward(backbone, inputs)
            if features is None or labels is None:
                count = len(batches.images)
                if count * maps[0].numel() * maps.element_size() > MEMORY_LIMIT:
                    return None
                features = maps.new_empty((count, *maps.shape[1:]))
                labels = targets.new_empty(count)
            features[rows.to(maps.device)] = maps
            labels[rows.to(maps.device)] = targets
    return None if features is None or labels is None else Features(batches, features, labels)
