"""From a source to what a run trains on: validation split, size, label budget, statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ssl_rot.data.augment import Augment
from ssl_rot.data.splits import rank_in_class, stratified_order
from ssl_rot.data.statistics import measure
from ssl_rot.data.types import Images, Source, Split
from ssl_rot.errors import DataError
from ssl_rot.option_types import (
    ChannelDeviations,
    ChannelMeans,
    Count,
    Folder,
    Fraction,
    ImageSize,
    OpenFraction,
    Text,
)
from ssl_rot.seeding import generator


@dataclass(frozen=True)
class Dataset:
    """What one run sees of a data set.

    Args:
        name: for records and figures.
        train: the labelled images within the budget.
        val: a part of the training images; ``None`` when no fraction was asked for.
        test: selects nothing, is only reported.
        pretext_images: every training image but the validation ones, labelled or not.
        classes: names in the order of the labels.
        mean: per channel, of pixels in [0, 1].
        std: likewise.
        augment: for training batches.
        fingerprint: of the source's content.
    """

    name: str
    train: Split
    val: Split | None
    test: Split
    pretext_images: Images
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augment: Augment
    fingerprint: str

    @property
    def held_out(self) -> dict[str, Split]:
        """What is evaluated on: the test split and, if there is one, the validation split."""
        return {"test": self.test} | ({} if self.val is None else {"val": self.val})


def prepare(
    *,
    name: Text,
    source: Source,
    seed: int,
    labels_per_class: Count | None,
    val_fraction: Fraction,
    train_size: Count | None,
    mean: ChannelMeans | None,
    std: ChannelDeviations | None,
    augment: Augment,
    root: Folder | None = None,
    image_size: ImageSize | None = None,
    test_fraction: OpenFraction | None = None,
    unlabelled: Text | None = None,
    skip_bad: bool | None = None,
) -> Dataset:
    """Takes validation split, ``train_size`` and label budget out of a source, in this order.

    Each choice is stratified, and depends on ``seed`` and the source alone: the validation split
    is the same for every budget, and a smaller budget or size is a part of a larger one.

    Args:
        name: of the data set.
        source: all of it.
        seed: the run's.
        labels_per_class: how many labelled images of each class; ``None`` for all.
        val_fraction: of the labelled training images, in [0, 1).
        train_size: how many training images there are for either phase; ``None`` for all.
            Unlabelled ones count, as a class of their own.
        mean: per channel, of pixels in [0, 1]; ``None`` to measure it on the training images.
        std: likewise.
        augment: for training batches.
        root: not read here, as the four below: ``source`` takes it from here by interpolation,
            so that ``dataset.root`` is the key to set.
        image_size: for ``source``.
        test_fraction: for ``source``.
        unlabelled: for ``source``.
        skip_bad: for ``source``.

    Raises:
        DataError: a budget, size or fraction that the data set cannot give.
    """
    labels = source.train.labels
    keep = torch.arange(len(labels))
    val = None
    if val_fraction > 0:
        val_rows = _validation_rows(labels, val_fraction, seed)
        val = source.train.select(val_rows)
        keep = _without(keep, val_rows)
    if train_size is not None:
        keep = keep[_sized(labels[keep], train_size, seed)]
    whole = len(keep) == len(labels)
    rest = source.train if whole else source.train.select(keep)
    if mean is None or std is None:
        measured = source.statistics or measure(source.train.images)
        mean = measured[0] if mean is None else mean
        std = measured[1] if std is None else std
    _check_channels(mean, std, channels=source.train.images.shape[1])
    return Dataset(
        name=name,
        train=_within_budget(rest, labels_per_class, seed, source.classes),
        val=val,
        test=source.test,
        pretext_images=rest.images,
        classes=source.classes,
        mean=tuple(float(value) for value in mean),
        std=tuple(float(value) for value in std),
        augment=augment,
        fingerprint=source.fingerprint,
    )


def _without(rows: Tensor, taken: Tensor) -> Tensor:
    return rows[~torch.isin(rows, taken)]


def _validation_rows(labels: Tensor, fraction: float, seed: int) -> Tensor:
    labelled = torch.nonzero(labels >= 0).flatten()
    count = round(fraction * len(labelled))
    if not 0 < count < len(labelled):
        raise DataError(
            f"dataset.val_fraction={fraction}: that is {count} of {len(labelled)} labelled "
            "training images; it must leave some on both sides."
        )
    order = stratified_order(labels[labelled], generator(seed, "data", "validation"))
    return labelled[order[:count]].sort().values


def _sized(labels: Tensor, size: int, seed: int) -> Tensor:
    if not 0 < size <= len(labels):
        raise DataError(
            f"dataset.train_size={size}: must be between 1 and {len(labels)}, the training images "
            "that the validation split leaves (null for all)."
        )
    order = stratified_order(labels, generator(seed, "data", "train size"))
    return order[:size].sort().values


def _within_budget(
    train: Split, per_class: int | None, seed: int, classes: tuple[str, ...]
) -> Split:
    counts = torch.bincount(train.labels[train.labels >= 0], minlength=len(classes))
    needed = 1 if per_class is None else per_class
    fewest = int(counts.argmin())
    if counts[fewest] < needed:
        raise DataError(
            f"dataset.labels_per_class={'null' if per_class is None else per_class}: class "
            f"{classes[fewest]!r} has {int(counts[fewest])} training images (what val_fraction and "
            f"train_size left); must be at most that, or null for all."
        )
    chosen = train.labels >= 0
    if per_class is not None:
        ranks = rank_in_class(train.labels, generator(seed, "data", "labels"))
        chosen &= ranks < per_class
    return train if bool(chosen.all()) else train.select(torch.nonzero(chosen).flatten())


def _check_channels(mean: Sequence[float], std: Sequence[float], channels: int) -> None:
    for key, values in (("mean", mean), ("std", std)):
        if len(values) != channels:
            raise DataError(
                f"dataset.{key}={list(values)}: must have {channels} values, one per channel of "
                "the images, or be null to be measured."
            )
