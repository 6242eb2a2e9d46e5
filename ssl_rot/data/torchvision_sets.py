"""The usual benchmarks, read by torchvision's own classes."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import ArrayLike

from ssl_rot.data.digits import resize
from ssl_rot.data.types import Images, Source, Split, fingerprint
from ssl_rot.errors import DataError
from ssl_rot.option_types import Folder, ImageSize

# torchvision is imported where it is used: it takes a second, and the embedded digits need none.


def cifar10(root: Folder, image_size: ImageSize) -> Source:
    """CIFAR-10: 50,000 and 10,000 photographs of 32x32 (Krizhevsky, 2009).

    Args:
        root: where the files are, or are downloaded to.
        image_size: pixels a side, to which the images are brought once.

    Raises:
        DataError: the files are not there and cannot be downloaded.
    """
    from torchvision.datasets import CIFAR10

    return _cifar(CIFAR10, root, image_size)


def cifar100(root: Folder, image_size: ImageSize) -> Source:
    """CIFAR-100: as :func:`cifar10`, with 100 classes."""
    from torchvision.datasets import CIFAR100

    return _cifar(CIFAR100, root, image_size)


def svhn(root: Folder, image_size: ImageSize) -> Source:
    """Street View House Numbers: 73,257 and 26,032 digits of 32x32 (Netzer et al., 2011).

    Arguments and errors as of :func:`cifar10`.
    """
    from torchvision.datasets import SVHN

    splits = [SVHN.split_list[split] for split in ("train", "test")]
    train, test = _fetch(
        lambda folder, download: [SVHN(folder, s, download=download) for s in ("train", "test")],
        root,
        urls=[url for url, _, _ in splits],
    )
    return Source(
        train=_split(train.data, train.labels, image_size),
        test=_split(test.data, test.labels, image_size),
        classes=tuple("0123456789"),
        fingerprint=fingerprint("SVHN", splits, image_size),
    )


def stl10(root: Folder, image_size: ImageSize) -> Source:
    """STL-10: 5,000 and 8,000 photographs of 96x96, and 100,000 unlabelled (Coates et al., 2011).

    The unlabelled ones stand behind the labelled training images, with label -1. Arguments and
    errors as of :func:`cifar10`.
    """
    from torchvision.datasets import STL10

    train, test = _fetch(
        lambda folder, download: [
            STL10(folder, split, download=download) for split in ("train+unlabeled", "test")
        ],
        root,
        urls=[STL10.url],
    )
    names = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
    return Source(
        train=_split(train.data, train.labels, image_size),
        test=_split(test.data, test.labels, image_size),
        classes=names,
        fingerprint=fingerprint("STL10", STL10.train_list, STL10.test_list, image_size),
    )


def _cifar(kind: Any, root: str | Path, image_size: int) -> Source:
    train, test = _fetch(
        lambda folder, download: [kind(folder, part, download=download) for part in (True, False)],
        root,
        urls=[kind.url],
    )
    return Source(
        train=_split(train.data.transpose(0, 3, 1, 2), train.targets, image_size),
        test=_split(test.data.transpose(0, 3, 1, 2), test.targets, image_size),
        classes=tuple(train.classes),
        fingerprint=fingerprint(kind.__name__, kind.train_list, kind.test_list, image_size),
    )


def _split(images: np.ndarray[Any, np.dtype[np.uint8]], labels: ArrayLike, size: int) -> Split:
    pixels = torch.from_numpy(np.ascontiguousarray(images))
    return Split(Images(resize(pixels, size)), torch.from_numpy(np.asarray(labels, np.int64)))


def _fetch(
    read: Callable[[Path, bool], Sequence[Any]], root: str | Path, urls: Sequence[str]
) -> Sequence[Any]:
    """Reads train and test split, downloading only what is missing.

    torchvision compares the files' checksums, so what it reads is the published data set.
    """
    folder = Path(root).expanduser()
    try:
        return read(folder, False)
    except (OSError, RuntimeError):  # missing or damaged
        pass
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # No archive writes outside its folder; Python's own default from 3.14 on.
        tarfile.TarFile.extraction_filter = staticmethod(tarfile.data_filter)
        with FileLock(folder / ".download.lock"):  # the jobs of a sweep start at once
            return read(folder, True)
    except (OSError, RuntimeError, EOFError, HTTPException, tarfile.TarError) as error:
        raise DataError(
            f"dataset.root={root}: the data is not there and could not be downloaded ({error}). "
            f"Put {' and '.join(urls)} into {folder.absolute()} as they are, or set dataset.root "
            "to the directory that holds them."
        ) from error
