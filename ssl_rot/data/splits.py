"""Stratified, nested choices of samples, decided by the seed alone."""

import math

import torch
from torch import Tensor

from ssl_rot.seeding import generator as seed_generator


def rank_in_class(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Each sample's rank in a random order of its own class, int64 ``[N]`` from 0.

    ``rank < k`` is a random subset of k samples per class, and contains the subset for every
    smaller k.
    """
    shuffled = torch.randperm(len(labels), generator=generator)
    by_class = shuffled[torch.argsort(labels[shuffled], stable=True)]
    sizes = torch.unique(labels, return_counts=True)[1]
    starts = torch.repeat_interleave(sizes.cumsum(0) - sizes, sizes)
    ranks = torch.empty_like(by_class)
    ranks[by_class] = torch.arange(len(labels)) - starts
    return ranks


def stratified_order(labels: Tensor, generator: torch.Generator) -> Tensor:
    """A random permutation of all samples, int64 ``[N]``.

    Every prefix has about the classes' proportions.

    Samples are ordered like seats in Sainte-Laguë's method of apportionment: the j-th sample
    (from 0) of a class with n samples has position (j + 1/2) / n. Unlike with rounded class shares,
    a longer prefix keeps all samples of a shorter one, so subsets of growing size are nested.
    """
    ranks = rank_in_class(labels, generator)
    _, class_of, sizes = torch.unique(labels, return_inverse=True, return_counts=True)
    positions = (ranks.double() + 0.5) / sizes[class_of]
    # Classes of equal size tie at every position. Shuffling first favors none of them.
    shuffled = torch.randperm(len(labels), generator=generator)
    return shuffled[torch.argsort(positions[shuffled], stable=True)]


def fixed_split(labels: Tensor, test_fraction: float) -> tuple[Tensor, Tensor]:
    """The rows of a stratified train and test split that is the same for every seed.

    Both are int64 and ascending; the size of the test split is rounded up.
    """
    order = stratified_order(labels, seed_generator(0, "fixed test split"))
    n_test = math.ceil(test_fraction * len(labels))
    return order[n_test:].sort().values, order[:n_test].sort().values
