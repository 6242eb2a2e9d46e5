"""From a listing to a data set: decode, report what cannot be decoded, split."""

import hashlib
import logging
from collections.abc import Sequence

import torch
from torch import Tensor

from ssl_rot.data.folder.cache import CachedImages, cached_images
from ssl_rot.data.folder.decoding import BadFile
from ssl_rot.data.folder.encoded import Listing, list_some
from ssl_rot.data.images import Images
from ssl_rot.data.source import Source, Split, fingerprint
from ssl_rot.data.splits import fixed_split
from ssl_rot.data.statistics import mean_and_std
from ssl_rot.errors import DataError

log = logging.getLogger(__name__)


def decode_listing(
    listing: Listing, image_size: int, test_fraction: float | None, skip_bad: bool
) -> Source:
    """Decodes all images of a listing into the cache, unless they are in it.

    Args:
        image_size: pixels a side, after a square crop at the center.
        test_fraction: of the labeled images, for the test split, which is stratified and the same
            for every seed; ``None`` if the listing has one.
        skip_bad: skip images that cannot be decoded, instead of raising an error.

    Raises:
        DataError: images cannot be decoded, or none is left in a split.
    """
    cached = cached_images(listing, image_size)
    _report_bad_files(listing, cached.bad, skip_bad)
    train, test = _split_rows(listing, cached.bad, test_fraction)
    if len(train) == 0 or len(test) == 0:
        counts = f"{len(train)} training and {len(test)} test images"
        raise DataError(f"{listing.where}: has {counts}; both are needed.")
    _warn_about_test_images(listing, cached, train, test)
    everything = Split(Images(cached.file.tensor, file=cached.file), listing.labels)
    return Source(
        train=everything.select(train),
        test=everything.select(test),
        classes=listing.classes,
        # Of the pixels, not of the files' times: a copy of the data is the same data set.
        fingerprint=fingerprint(
            "image_folder", image_size, test_fraction, *listing.identity, cached.pixels
        ),
        statistics=mean_and_std(cached.sums[train.numpy()], len(train) * image_size**2),
    )


def _split_rows(
    listing: Listing, bad: Sequence[BadFile], test_fraction: float | None
) -> tuple[Tensor, Tensor]:
    """The rows of the training and the test split, without bad files."""
    is_good = torch.ones(len(listing.names), dtype=torch.bool)
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
    listing: Listing, cached: CachedImages, train: Tensor, test: Tensor
) -> None:
    """Warns if the test accuracy does not cover a class, or covers images that were trained on."""
    # Names are quoted: they may contain line breaks, or bytes that no log file takes.
    tested = set(listing.labels[test].tolist())
    untested = [repr(name) for label, name in enumerate(listing.classes) if label not in tested]
    if untested:
        log.warning("%s: no test images of:%s", listing.where, list_some(untested))
    images = cached.file.tensor
    sums = torch.from_numpy(cached.sums).sum((1, 2))  # equal for equal images, and for few others

    def hash_rows(rows: Tensor, others: Tensor) -> dict[int, bytes]:
        candidates = rows[torch.isin(sums[rows], sums[others])].tolist()
        return {row: hashlib.sha256(images[row].numpy().data).digest() for row in candidates}

    seen = set(hash_rows(train, test).values())
    copies = [repr(listing.names[row]) for row, h in hash_rows(test, train).items() if h in seen]
    if copies:
        summary = (
            f"{len(copies)} of {len(test)} test images equal a training image, pixel for pixel"
        )
        advice = "which makes the test accuracy too high; remove one of the two"
        log.warning("%s: %s, %s:%s", listing.where, summary, advice, list_some(copies))


def _report_bad_files(listing: Listing, bad: Sequence[BadFile], skip_bad: bool) -> None:
    if not bad:
        return
    details = list_some([f"{listing.names[file.row]!r}: {file.reason}" for file in bad])
    summary = f"{len(bad)} of {len(listing.names)} files cannot be decoded"
    if not skip_bad:
        advice = "repair or remove them, or set dataset.skip_bad=true"
        raise DataError(f"{listing.where}: {summary}; {advice}:{details}")
    log.warning("%s: %s and are skipped:%s", listing.where, summary, details)
