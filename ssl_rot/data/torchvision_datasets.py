"""CIFAR, SVHN and STL-10, read by torchvision's own classes."""

import os
import tarfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import ArrayLike, NDArray

from ssl_rot.data.images import Images, resize
from ssl_rot.data.source import Source, Split, fingerprint
from ssl_rot.errors import DataError
from ssl_rot.option_types import Folder, ImageSize

# torchvision is imported where it is used: it takes a second, and the digits do not need it.


def cifar10(root: Folder, image_size: ImageSize) -> Source:
    """CIFAR-10: 50,000 training and 10,000 test photographs, 32x32 (Krizhevsky, 2009).

    Args:
        root: the directory that holds the files, or that they are downloaded to.
        image_size: pixels a side; the images are resized once, when they are loaded.

    Raises:
        DataError: the files are missing and cannot be downloaded.
    """
    from torchvision.datasets import CIFAR10

    return _load_cifar(CIFAR10, root, image_size)


def cifar100(root: Folder, image_size: ImageSize) -> Source:
    """CIFAR-100: like :func:`cifar10`, with 100 classes."""
    from torchvision.datasets import CIFAR100

    return _load_cifar(CIFAR100, root, image_size)


def svhn(root: Folder, image_size: ImageSize) -> Source:
    """SVHN: 73,257 training and 26,032 test digits, 32x32 (Netzer et al., 2011).

    Arguments and errors are those of :func:`cifar10`.
    """
    from torchvision.datasets import SVHN

    files = [SVHN.split_list[split] for split in ("train", "test")]
    train, test = _load_or_download(SVHN, ("train", "test"), root, [url for url, _, _ in files])
    splits = (train.data, train.labels), (test.data, test.labels)
    return _make_source(splits, tuple("0123456789"), image_size, "SVHN", files)


def stl10(root: Folder, image_size: ImageSize) -> Source:
    """STL-10: 5,000 training and 8,000 test photographs, 96x96 (Coates et al., 2011).

    The 100,000 unlabeled ones follow the labeled training images, with label -1. Arguments and
    errors are those of :func:`cifar10`.
    """
    from torchvision.datasets import STL10

    train, test = _load_or_download(STL10, ("train+unlabeled", "test"), root, [STL10.url])
    names = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
    splits = (train.data, train.labels), (test.data, test.labels)
    return _make_source(splits, names, image_size, "STL10", STL10.train_list, STL10.test_list)


def _load_cifar(dataset: Any, root: Folder, image_size: int) -> Source:
    train, test = _load_or_download(dataset, (True, False), root, [dataset.url])
    splits = [(split.data.transpose(0, 3, 1, 2), split.targets) for split in (train, test)]
    files = dataset.train_list, dataset.test_list
    return _make_source(splits, tuple(train.classes), image_size, dataset.__name__, *files)


def _make_source(
    splits: Iterable[tuple[NDArray[np.uint8], ArrayLike]],
    classes: tuple[str, ...],
    size: int,
    *content: object,
) -> Source:
    train, test = (
        Split(
            Images(resize(torch.from_numpy(np.ascontiguousarray(images)), size)),
            torch.from_numpy(np.asarray(labels, np.int64)),
        )
        for images, labels in splits
    )
    return Source(train, test, classes, fingerprint(*content, size))


def _load_or_download(
    dataset: Any, splits: Sequence[object], root: Folder, urls: Sequence[str]
) -> list[Any]:
    """Loads both splits, whose checksums torchvision verifies; downloads what is missing or bad."""
    folder = Path(os.path.expanduser(root))  # unlike Path's, takes ~nobody for a name
    with suppress(OSError, RuntimeError):  # missing or damaged
        return [dataset(folder, split) for split in splits]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # No archive may write outside its folder: Python's own default from 3.14 on.
        tarfile.TarFile.extraction_filter = staticmethod(tarfile.data_filter)
        with FileLock(folder / ".download.lock"):  # jobs of a sweep may start together
            return [dataset(folder, split, download=True) for split in splits]
    except (OSError, RuntimeError, EOFError, HTTPException, tarfile.TarError) as error:
        raise DataError(
            f"dataset.root={root}: the data set was not found and could not be downloaded "
            f"({error}). Put {' and '.join(urls)} into {folder.absolute()}, not unpacked, or set "
            "dataset.root to the directory that holds them."
        ) from error
