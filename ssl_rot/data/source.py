"""A data set before a run takes its part of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from ssl_rot.data.images import Images
from ssl_rot.data.statistics import measure


@dataclass(frozen=True)
class Split:
    """Images with their labels (int64 ``[N]``; -1 for an unlabeled image)."""

    images: Images
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, index: Tensor) -> Split:
        """The samples at ``index`` (int64 ``[n]``)."""
        return Split(self.images.select(index), self.labels[index])


@dataclass(frozen=True)
class Source:
    """A complete data set, before validation split and label budget.

    Args:
        train: everything that may be trained on. Images with label -1 feed the pretext task only.
        test: all labeled.
        classes: names, in the order of the labels.
        fingerprint: changes with the content, but not with its location.
        statistics: mean and standard deviation of the training images, as returned by ``measure``,
            if the source already knows them.
    """

    train: Split
    test: Split
    classes: tuple[str, ...]
    fingerprint: str
    statistics: tuple[tuple[float, ...], tuple[float, ...]] | None = None

    @cached_property
    def mean_and_std(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """``statistics``, measured if need be: once for all jobs of a process."""
        return self.statistics or measure(self.train.images)


def fingerprint(*parts: object) -> str:
    """A short hash of everything that determines a data set's content."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
