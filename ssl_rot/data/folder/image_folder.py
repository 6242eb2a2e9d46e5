"""A folder of images, with one subfolder per class, as a data set."""

import hashlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ssl_rot.data.folder.cache import CachedImages, cached_images
from ssl_rot.data.folder.decoding import BadFile
from ssl_rot.data.folder.listing import Listing, folder_error, list_folder
from ssl_rot.data.images import Images
from ssl_rot.data.source import Source, Split, fingerprint
from ssl_rot.data.splits import fixed_split
from ssl_rot.data.statistics import mean_and_std
from ssl_rot.option_types import Folder, ImageSize, OpenFraction, Text

log = logging.getLogger(__name__)

MAX_LISTED = 10
"""Files that a message lists: enough to see what they are, few enough to read."""


def image_folder(
    root: Folder,
    image_size: ImageSize,
    test_fraction: OpenFraction | None = None,
    unlabelled: Text | None = None,
    skip_bad: bool = False,
) -> Source:
    """Images of any size and mode, decoded once into the image cache.

    A class consists of everything below its folder, except hidden files.

    Args:
        root: holds ``train`` and ``test``, each with one folder per class; or, with
            ``test_fraction``, the class folders themselves.
        image_size: pixels a side, after a square crop at the center.
        test_fraction: of the images in a single tree, for the test split, which is stratified and
            the same for every seed; ``None`` for two trees.
        unlabelled: a folder in ``root`` with images for the pretext task only; they follow the
            labeled training images, with label -1.
        skip_bad: skip files that cannot be decoded, instead of raising an error.

    Raises:
        DataError: the folder does not have this layout, or has bad files.
    """
    root = Path(os.path.expanduser(root))  # unlike Path's, takes ~nobody for a name
    try:
        listing = list_folder(root, test_fraction, unlabelled)
    except OSError as error:
        problem = (
            f"{Path(error.filename or root)} cannot be read ({error.strerror}); make it readable"
        )
        raise folder_error(root, f"{problem}, or remove it.") from error
    except RecursionError:
        raise folder_error(root, "its folders are nested too deeply to be listed.") from None
    cached = cached_images(root, listing.paths, listing.version, image_size)
    _report_bad_files(root, listing.paths, cached.bad, skip_bad)
    train, test = _split_rows(listing, cached.bad, test_fraction)
    if len(train) == 0 or len(test) == 0:
        counts = f"{len(train)} training and {len(test)} test images"
        raise folder_error(root, f"has {counts}; both are needed.")
    _warn_about_test_images(root, listing, cached, train, test)
    everything = Split(Images(cached.file.tensor, file=cached.file), listing.labels)
    return Source(
        train=everything.select(train),
        test=everything.select(test),
        classes=listing.classes,
        # Of the pixels, not of the files' times: a copy of the folder is the same data set.
        fingerprint=fingerprint(
            "image_folder", image_size, test_fraction, "\0".join(listing.paths), cached.pixels
        ),
        statistics=mean_and_std(cached.sums[train.numpy()], len(train) * image_size**2),
    )


def _split_rows(
    listing: Listing, bad: Sequence[BadFile], test_fraction: float | None
) -> tuple[Tensor, Tensor]:
    """The rows of the training and the test split, without bad files."""
    is_good = torch.ones(len(listing.paths), dtype=torch.bool)
    is_good[[file.row for file in bad]] = False
    rows = torch.nonzero(is_good).flatten()
    if test_fraction is None:
        in_test = listing.in_test[rows]
        return rows[~in_test], rows[in_test]
    labels = listing.labels[rows]
    labeled = rows[labels >= 0]
    train, test = fixed_split(labels[labels >= 0], test_fraction)
    return torch.cat([labeled[train], rows[labels < 0]]), labeled[test]


def _warn_about_test_images(
    root: Path, listing: Listing, cached: CachedImages, train: Tensor, test: Tensor
) -> None:
    """Warns if the test accuracy does not cover a class, or covers images that were trained on."""
    # Names are quoted: they may contain line breaks, or bytes that no log file takes.
    tested = set(listing.labels[test].tolist())
    untested = [repr(name) for label, name in enumerate(listing.classes) if label not in tested]
    if untested:
        log.warning("dataset.root=%s: no test images of:%s", root, _list_some(untested))
    images = cached.file.tensor
    sums = torch.from_numpy(cached.sums).sum((1, 2))  # equal for equal images, and for few others

    def hash_rows(rows: Tensor, others: Tensor) -> dict[int, bytes]:
        candidates = rows[torch.isin(sums[rows], sums[others])].tolist()
        return {row: hashlib.sha256(images[row].numpy().data).digest() for row in candidates}

    seen = set(hash_rows(train, test).values())
    copies = [repr(listing.paths[row]) for row, h in hash_rows(test, train).items() if h in seen]
    if copies:
        summary = (
            f"{len(copies)} of {len(test)} test images equal a training image, pixel for pixel"
        )
        advice = "which makes the test accuracy too high; remove one of the two"
        log.warning("dataset.root=%s: %s, %s:%s", root, summary, advice, _list_some(copies))


def _report_bad_files(
    root: Path, paths: Sequence[str], bad: Sequence[BadFile], skip_bad: bool
) -> None:
    if not bad:
        return
    details = _list_some([f"{paths[file.row]!r}: {file.reason}" for file in bad])
    summary = f"{len(bad)} of {len(paths)} files cannot be decoded"
    if not skip_bad:
        advice = "repair or remove them, or set dataset.skip_bad=true"
        raise folder_error(root, f"{summary}; {advice}:{details}")
    log.warning("dataset.root=%s: %s and are skipped:%s", root, summary, details)


def _list_some(lines: Sequence[str]) -> str:
    more = [f"and {len(lines) - MAX_LISTED} more"] if len(lines) > MAX_LISTED else []
    return "".join(f"\n  {line}" for line in [*lines[:MAX_LISTED], *more])
