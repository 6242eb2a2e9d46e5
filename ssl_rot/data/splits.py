"""Which samples: stratified, nested, and decided by the seed alone."""

from __future__ import annotations

import torch
from torch import Tensor


def rank_in_class(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Each sample's place in a random order of its own class, int64 ``[N]`` from 0.

    ``rank < k`` is a random subset of k per class, and contains the one for every smaller k.
    """
    shuffled = torch.randperm(len(labels), generator=generator)
    by_class = shuffled[torch.argsort(labels[shuffled], stable=True)]
    sizes = torch.unique(labels, return_counts=True)[1]
    starts = torch.repeat_interleave(sizes.cumsum(0) - sizes, sizes)
    ranks = torch.empty_like(by_class)
    ranks[by_class] = torch.arange(len(labels)) - starts
    return ranks


def stratified_order(labels: Tensor, generator: torch.Generator) -> Tensor:
    """A random order of all samples of which every prefix has about the classes' proportions.

    Seats are given as in Sainte-Laguë's method of apportionment, the j-th sample (from 0) of a
    class with n samples at (j + 1/2) / n. Unlike rounding each class's share, a longer prefix
    never takes a sample back, so subsets of growing size are nested.

    Args:
        labels: int64 ``[N]``.

    Returns:
        int64 ``[N]``, a permutation.
    """
    ranks = rank_in_class(labels, generator)
    _, class_of, sizes = torch.unique(labels, return_inverse=True, return_counts=True)
    seats = (ranks.double() + 0.5) / sizes[class_of]
    # Classes of equal size tie at every seat: a random order first, so that no class is favoured.
    shuffled = torch.randperm(len(labels), generator=generator)
    return shuffled[torch.argsort(seats[shuffled], stable=True)]
