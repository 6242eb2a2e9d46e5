"""Label budgets: which of the labeled training images a run may use."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from ssl_rot.data.source import Split
from ssl_rot.data.splits import rank_in_class
from ssl_rot.errors import DataError, as_text
from ssl_rot.seeding import generator

log = logging.getLogger(__name__)

MAX_NAMED = 10
"""Classes that a message names."""


@dataclass(frozen=True)
class LabelBudget:
    """How many labels a run may use: of each class a number, a fraction, or all.

    Args:
        per_class: labeled images per class; all of a class that has fewer.
        fraction: of the labeled images of each class, at least one; not with ``per_class``.
        val_per_class: of these, the images for validation.
    """

    per_class: int | None = None
    fraction: float | None = None
    val_per_class: int | None = None

    @property
    def key(self) -> str:
        """The config key that sets the budget, with its value."""
        if self.fraction is not None:
            return f"dataset.label_fraction={self.fraction}"
        return f"dataset.labels_per_class={as_text(self.per_class)}"

    def sizes(self, counts: Tensor) -> Tensor:
        """The budget of each class, int64 ``[K]``, given its number of labeled images."""
        if self.fraction is not None:
            wanted = (counts.double() * self.fraction).round().long().clamp(min=1)
            return torch.minimum(counts, wanted)
        return counts if self.per_class is None else counts.clamp(max=self.per_class)


@dataclass(frozen=True)
class DrawnLabels:
    """The labeled images within a budget.

    Args:
        val: ``None`` without a ``val_per_class``.
        scarce: the classes that have fewer labeled images than ``per_class``, and how many.
    """

    train: Split
    val: Split | None
    scarce: dict[str, int]


def draw_labels(
    train: Split, budget: LabelBudget, seed: int, classes: tuple[str, ...]
) -> DrawnLabels:
    """Draws a budget. Those for validation come first in each class.

    A budget contains every smaller one of the same seed, whether it is a number or a fraction.

    Raises:
        DataError: a class has no image to train on, or too few for ``val_per_class``.
    """
    counts = torch.bincount(train.labels[train.labels >= 0], minlength=len(classes))
    sizes = budget.sizes(counts)
    for_validation = 0 if budget.val_per_class is None else budget.val_per_class
    fewest = int(sizes.argmin())
    if sizes[fewest] <= for_validation:
        raise DataError(
            f"{budget.key}: class {classes[fewest]!r} has {int(counts[fewest])} labeled training "
            f"images (after val_fraction and train_size), {int(sizes[fewest])} of which are in the "
            f"budget. It needs at least {for_validation + 1}: val_per_class for validation and one "
            "to train on."
        )
    scarce = {}
    if budget.per_class is not None:
        few = torch.nonzero(counts < budget.per_class).flatten().tolist()
        scarce = {classes[i]: int(counts[i]) for i in few}
        if scarce:
            _warn_once(
                f"{budget.key}: these classes have fewer labeled training images, all of which are "
                f"used: {list_counts(scarce)}. The run uses {int(sizes.sum())} labels in all."
            )
    ranks = rank_in_class(train.labels, generator(seed, "data", "labels"))
    drawn = (train.labels >= 0) & (ranks < sizes[train.labels])

    def select(chosen: Tensor) -> Split:
        return train if bool(chosen.all()) else train.select(torch.nonzero(chosen).flatten())

    training = select(drawn & (ranks >= for_validation))
    val = select(drawn & (ranks < for_validation)) if for_validation else None
    return DrawnLabels(training, val, scarce)


def list_counts(scarce: Mapping[str, int]) -> str:
    """``'cat' 3, 'dog' 7``; the first of many."""
    named = [f"{name!r} {count}" for name, count in scarce.items()]
    more = len(named) - MAX_NAMED
    return ", ".join(named[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


@lru_cache
def _warn_once(message: str) -> None:
    """Most jobs of a sweep share their budget with others, and are planned in one process."""
    log.warning("%s", message)
