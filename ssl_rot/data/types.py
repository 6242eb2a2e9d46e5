"""What the data layer hands around: images, splits, sources."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ssl_rot.data.mapped import MappedFile


@dataclass(frozen=True)
class Images:
    """Some rows of one array of images; nothing is copied until rows are asked for.

    A label budget, a validation split and the pretext task all look at the same array, which may
    be a memory map larger than memory. So a subset is a list of row numbers, not a copy.

    Args:
        base: uint8 ``[M, C, H, W]``.
        rows: int64 ``[N]``, which rows of ``base`` these are, in order; ``None`` for all of them.
        file: what ``base`` is the tensor of; reading it may have to wait for a disk.
    """

    base: Tensor
    rows: Tensor | None = None
    file: MappedFile | None = None

    @classmethod
    def mapped(cls, file: MappedFile) -> Images:
        """All images of a file."""
        return cls(file.tensor, file=file)

    def __len__(self) -> int:
        return len(self.base) if self.rows is None else len(self.rows)

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        """uint8 ``[n, C, H, W]``: the images at these positions."""
        if self.rows is not None:
            return self.base[self.rows[index]]
        return self.base[index]

    def will_need(self, index: Tensor) -> None:
        """Says which images are asked for next, so that a disk can begin with all of them."""
        if self.file is not None:
            self.file.will_need(index if self.rows is None else self.rows[index])

    @property
    def shape(self) -> torch.Size:
        """``(N, C, H, W)``."""
        return torch.Size((len(self), *self.base.shape[1:]))

    def select(self, index: Tensor) -> Images:
        """The images at ``index`` (int64 ``[n]``), as rows of the same array."""
        return replace(self, rows=index if self.rows is None else self.rows[index])


@dataclass(frozen=True)
class Split:
    """Images with their labels (int64 ``[N]``; -1 for an image that has none)."""

    images: Images
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, index: Tensor) -> Split:
        """The samples at ``index`` (int64 ``[n]``)."""
        return Split(self.images.select(index), self.labels[index])


@dataclass(frozen=True)
class Source:
    """A data set as it is, before validation split and label budget.

    Args:
        train: everything that may be trained on. Images with label -1 feed the pretext task only.
        test: all labelled.
        classes: names in the order of the labels.
        fingerprint: changes when the content does, and not when it only lies elsewhere.
        statistics: mean and standard deviation of the training images, as ``measure`` gives them,
            where the source has them at hand.
    """

    train: Split
    test: Split
    classes: tuple[str, ...]
    fingerprint: str
    statistics: tuple[tuple[float, ...], tuple[float, ...]] | None = None


def fingerprint(*parts: object) -> str:
    """A short hash of what determines a data set's content."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
