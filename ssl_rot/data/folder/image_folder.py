"""A folder of images, with one subfolder per class, as a data set."""

import os
from pathlib import Path

from ssl_rot.data.folder.decoded import decode_listing
from ssl_rot.data.folder.labels_csv import list_csv
from ssl_rot.data.folder.listing import folder_error, list_folder
from ssl_rot.data.source import Source
from ssl_rot.option_types import Folder, ImageSize, OpenFraction, Text


def image_folder(
    root: Folder,
    image_size: ImageSize,
    test_fraction: OpenFraction | None = None,
    unlabelled: Text | None = None,
    skip_bad: bool = False,
    labels: Text | None = None,
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
        labels: a CSV in ``root`` with the columns ``path`` and ``label``, and ``split`` (train or
            test) without a ``test_fraction``; the folders then mean nothing. Paths start from
            ``root``. Images without a label, and those in ``unlabelled`` that the CSV does not
            name, are for the pretext task only.

    Raises:
        DataError: the folder does not have this layout, or has bad files.
    """
    root = Path(os.path.expanduser(root))  # unlike Path's, takes ~nobody for a name
    try:
        if labels is None:
            listing = list_folder(root, test_fraction, unlabelled)
        else:
            listing = list_csv(root, labels, test_fraction, unlabelled)
    except OSError as error:
        problem = (
            f"{Path(error.filename or root)} cannot be read ({error.strerror}); make it readable"
        )
        raise folder_error(root, f"{problem}, or remove it.") from error
    except RecursionError:
        raise folder_error(root, "its folders are nested too deeply to be listed.") from None
    return decode_listing(listing, image_size, test_fraction, skip_bad)
