"""From a source to the data of a run: validation split, size, label budget, statistics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ssl_rot.data.augment import Augment
from ssl_rot.data.budget import LabelBudget, draw_labels, list_counts
from ssl_rot.data.images import Images
from ssl_rot.data.source import Source, Split
from ssl_rot.data.splits import stratified_order
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
    """The part of a data set that a run uses.

    Args:
        train: the labeled images within the budget, except those for validation.
        val: labeled images for validation; ``None`` without a validation split.
        test: only reported; selects nothing.
        pretext_images: all training images, labeled or not, except those of ``val_fraction``.
        val_in_budget: whether ``val`` was taken out of the label budget; the pretext task then
            trains on its images too.
        scarce: the classes that have fewer labeled images than ``labels_per_class``, and how many.
        mean: per channel, of pixels in [0, 1]; likewise ``std``.
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
    val_in_budget: bool = False
    scarce: Mapping[str, int] = field(default_factory=dict)

    @property
    def held_out(self) -> dict[str, Split]:
        """The splits for evaluation: test and, if there is one, validation."""
        return {"test": self.test} | ({} if self.val is None else {"val": self.val})

    @property
    def held_out_from_pretext(self) -> dict[str, Split]:
        """Those of ``held_out`` whose images the pretext task does not train on."""
        return {"test": self.test} if self.val_in_budget else self.held_out

    def count_labels(self) -> str:
        """How many labels are used: ``50 (10 of them for validation)``."""
        total, notes = len(self.train), []
        if self.val is not None and self.val_in_budget:
            total += len(self.val)
            notes.append(f"{len(self.val)} of them for validation")
        elif self.val is not None:
            notes.append(f"and another {len(self.val)} for validation")
        if self.scarce:
            notes.append(f"all there are of {list_counts(self.scarce)}")
        return f"{total} ({', '.join(notes)})" if notes else f"{total}"


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
    label_fraction: OpenFraction | None = None,
    val_per_class: Count | None = None,
    root: Folder | None = None,
    image_size: ImageSize | None = None,
    test_fraction: OpenFraction | None = None,
    unlabelled: Text | None = None,
    skip_bad: bool | None = None,
    labels: Text | None = None,
    path: Text | None = None,
    image: Text | None = None,
    label: Text | None = None,
    train_split: Text | None = None,
    test_split: Text | None = None,
    configuration: Text | None = None,
) -> Dataset:
    """Applies ``val_fraction``, ``train_size`` and label budget to a source, in this order.

    Each choice is stratified and depends only on the source and ``seed``: the validation split is
    the same for every budget, and a larger budget or size contains every smaller one. With
    ``val_per_class``, this holds for the images that remain to be trained on, too.

    The arguments from ``root`` on are not read here: the config of ``source`` interpolates them, so
    that the key to set is, say, ``dataset.root``.

    Args:
        labels_per_class: labeled images per class; ``None`` for all. A class that has fewer gives
            all it has.
        label_fraction: of the labeled images of each class, at least one; not with a
            ``labels_per_class``.
        val_fraction: of the labeled training images, in [0, 1), before the budget is applied:
            labels for validation that the budget does not count.
        val_per_class: of a class's labels within the budget, those for validation; not with a
            ``val_fraction``.
        train_size: training images for both phases; ``None`` for all. Unlabeled images count as a
            class of their own.
        mean: per channel, of pixels in [0, 1]; ``None`` to measure it on the training images.
            Likewise ``std``.

    Raises:
        DataError: the data set is too small for a budget, size or fraction.
    """
    all_labels = source.train.labels
    keep = torch.arange(len(all_labels))
    val = None
    if val_fraction > 0:
        val_rows = _validation_rows(all_labels, val_fraction, seed)
        val = source.train.select(val_rows)
        keep = keep[~torch.isin(keep, val_rows)]
    if train_size is not None:
        keep = keep[_rows_of_size(all_labels[keep], train_size, seed)]
    train = source.train if len(keep) == len(all_labels) else source.train.select(keep)
    if mean is None or std is None:
        mean = source.mean_and_std[0] if mean is None else mean
        std = source.mean_and_std[1] if std is None else std
    channels = source.train.images.shape[1]
    _check_channels(mean, std, channels)
    if augment.policy is not None and channels not in (1, 3):
        raise DataError(
            f"dataset.augment.policy={augment.policy}: the images have {channels} channels, and "
            "torchvision's policies take one or three. Set it to null."
        )
    budget = LabelBudget(labels_per_class, label_fraction, val_per_class)
    drawn = draw_labels(train, budget, seed, source.classes)
    return Dataset(
        name=name,
        train=drawn.train,
        val=val if drawn.val is None else drawn.val,
        test=source.test,
        pretext_images=train.images,
        classes=source.classes,
        mean=tuple(float(value) for value in mean),
        std=tuple(float(value) for value in std),
        augment=augment,
        fingerprint=source.fingerprint,
        val_in_budget=drawn.val is not None,
        scarce=drawn.scarce,
    )


def _validation_rows(labels: Tensor, fraction: float, seed: int) -> Tensor:
    labeled = torch.nonzero(labels >= 0).flatten()
    count = round(fraction * len(labeled))
    if not 0 < count < len(labeled):
        raise DataError(
            f"dataset.val_fraction={fraction} selects {count} of {len(labeled)} labeled training "
            "images for validation; training and validation both need at least one."
        )
    order = stratified_order(labels[labeled], generator(seed, "data", "validation"))
    return labeled[order[:count]].sort().values


def _rows_of_size(labels: Tensor, size: int, seed: int) -> Tensor:
    if not 0 < size <= len(labels):
        raise DataError(
            f"dataset.train_size={size}: must be between 1 and {len(labels)}, the number of "
            "training images outside the validation split, or null for all."
        )
    order = stratified_order(labels, generator(seed, "data", "train size"))
    return order[:size].sort().values


def _check_channels(mean: Sequence[float], std: Sequence[float], channels: int) -> None:
    for key, values in (("mean", mean), ("std", std)):
        if len(values) != channels:
            raise DataError(
                f"dataset.{key}={list(values)}: must have {channels} values, one per channel of "
                "the images, or be null to be measured on them."
            )
