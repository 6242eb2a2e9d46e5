"""Encoded images of any origin, and what is known of them before one is decoded."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ssl_rot.errors import DataError

log = logging.getLogger(__name__)

MAX_LISTED = 10
"""Files that a message lists: enough to see what they are, few enough to read."""


class EncodedImages(Protocol):
    """N encoded images, read a few at a time: each a file's path, or its content."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice) -> Sequence[str | bytes]: ...


@dataclass(frozen=True)
class Listing:
    """All N encoded images of a data set.

    Args:
        where: the config key that names the data, with its value: ``dataset.root=pictures``.
        names: of the images, in messages; they do not depend on where the data lies.
        images: what to decode.
        labels: int64 ``[N]``; -1 for images for the pretext task only.
        in_test: bool ``[N]``, whether the image belongs to a test split of the data's own.
        version: a hash that changes when any encoded image may have changed.
        names_hold_labels: whether labels and splits follow from the names.
    """

    where: str
    classes: tuple[str, ...]
    names: list[str]
    images: EncodedImages
    labels: Tensor
    in_test: Tensor
    version: str
    names_hold_labels: bool = False

    @property
    def identity(self) -> tuple[str, ...]:
        """What identifies the data set, besides its pixels."""
        names = "\0".join(self.names)
        if self.names_hold_labels:
            return (names,)
        labels = hashlib.sha256(self.labels.numpy().tobytes() + self.in_test.numpy().tobytes())
        return names, "\0".join(self.classes), labels.hexdigest()


def encode_labels(
    where: str, values: Sequence[Hashable], in_test: Sequence[bool], order: Sequence[Any] = ()
) -> tuple[tuple[str, ...], Tensor]:
    """The classes, and the label of each value; ``None`` stands for an unlabeled image.

    Args:
        order: of the classes, if they have one; otherwise they are sorted.

    Raises:
        DataError: there are fewer than two classes, one only among the test images, or a test image
            has no label.
    """
    trained = {v for v, test in zip(values, in_test, strict=True) if not test} - {None}
    classes: list[Any] = [v for v in order if v in trained] or sorted(trained)
    names = tuple(map(str, classes))
    if len(classes) < 2:
        found = f"the only class of its training images is {names[0]!r}" if names else "no labels"
        raise DataError(f"{where}: {found}; need at least two classes.")
    unlabeled = sum(v is None and test for v, test in zip(values, in_test, strict=True))
    if unlabeled:
        raise DataError(
            f"{where}: {unlabeled} of {sum(in_test)} test images have no label; all need one."
        )
    index: dict[Any, int] = {value: i for i, value in enumerate(classes)} | {None: -1}
    for value in values:
        if value not in index:
            raise DataError(
                f"{where}: class {value!r} has test images and no training images; known: "
                f"{', '.join(map(repr, names))}."
            )
    if unused := [str(value) for value in order if value not in trained]:
        listed = list_some([repr(name) for name in unused])
        log.warning("%s: classes without training images are left out:%s", where, listed)
    return names, torch.tensor([index[value] for value in values])


def list_some(lines: Sequence[str]) -> str:
    """The first lines, indented, each on a line of its own."""
    more = [f"and {len(lines) - MAX_LISTED} more"] if len(lines) > MAX_LISTED else []
    return "".join(f"\n  {line}" for line in [*lines[:MAX_LISTED], *more])
