"""Image files of any kind to square RGB arrays."""

from __future__ import annotations

import errno
import hashlib
import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from ssl_rot.data.statistics import channel_sums


def decode(path: str, size: int) -> NDArray[np.uint8]:
    """One image file, upright, cropped square in its centre, then resized.

    Grey, palette, transparent (alpha is dropped), CMYK and 16-bit images all become 8-bit RGB.

    Args:
        path: the file.
        size: pixels a side.

    Returns:
        uint8 ``[3, size, size]``.

    Raises:
        Exception: whatever Pillow raises for this kind of damage.
    """
    if not os.path.isfile(path):  # opening a pipe or a socket would wait for ever
        raise FileNotFoundError(errno.ENOENT, "not a file, or a broken link")
    with Image.open(path) as image:
        # A JPEG can be decoded at 1/2, 1/4 or 1/8; twice the final size loses nothing visible.
        if min(image.size) >= 4 * size:
            image.draft(None, (2 * size, 2 * size))
        # A photograph stored on its side would be a wrong label for the rotation task.
        ImageOps.exif_transpose(image, in_place=True)
        rgb = _to_rgb(image)
        if rgb.size != (size, size):
            side = min(rgb.size)
            left, top = (rgb.width - side) // 2, (rgb.height - side) // 2
            # Not resize's own box: its filter would look beyond the box's edges.
            square = rgb.crop((left, top, left + side, top + side))
            rgb = square.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0)
        return np.asarray(rgb).transpose(2, 0, 1)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("floating-point pixels have no fixed range")
    if image.mode.startswith("I"):  # Pillow would clip 16 bits to 255, not scale them
        grey = np.asarray(image).clip(0, 65535) // 257
        image = Image.fromarray(grey.astype(np.uint8))
    return image if image.mode == "RGB" else image.convert("RGB")


@dataclass(frozen=True)
class Bad:
    """Why a file has no image in it."""

    row: int
    reason: str
    unreadable: bool  # the system refused to read it, which may be mended without touching it


@dataclass(frozen=True)
class Chunk:
    """What became of some files.

    Args:
        images: how many there are.
        bad: those without an image in them.
        pixels: a hash of what was written.
        sums: int64 ``[images, 3, 2]``, of every image's channels.
        error: why it could not be written.
    """

    images: int
    bad: list[Bad]
    pixels: bytes
    sums: NDArray[np.int64]
    error: OSError | None


@dataclass(frozen=True)
class Chunks:
    """All files of a folder in chunks, decoded by the workers of a ``DataLoader``.

    Workers write the pixels to their place in a file: to hand them over would keep another core
    busy.

    Args:
        paths: of the files, in the order of the rows.
        size: pixels a side.
        length: files a chunk.
        target: a file, for uint8 ``[N, 3, size, size]``.
        first: the byte of it that the pixels begin with.
    """

    paths: Sequence[str]
    size: int
    length: int
    target: Path
    first: int

    def __len__(self) -> int:
        return -(-len(self.paths) // self.length)

    def __getitem__(self, chunk: int) -> Chunk:
        """Decodes and writes one; a bad file's image is black."""
        first = chunk * self.length
        paths = self.paths[first : first + self.length]
        images = np.zeros((len(paths), 3, self.size, self.size), np.uint8)
        bad = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            for i, path in enumerate(paths):
                try:
                    images[i] = decode(path, self.size)
                except Exception as error:  # Pillow's readers raise nearly every kind there is
                    refused = isinstance(error, OSError) and error.errno is not None
                    bad.append(Bad(first + i, _reason(error, path), refused))
        begin = self.first + first * images[0].nbytes
        written = None
        try:
            with self.target.open("r+b") as file:
                file.seek(begin)
                file.write(images.data)
                file.flush()
                if sys.platform == "linux":
                    # It then begins to write to the disk at once, and the end has less to wait for.
                    with suppress(OSError):
                        os.posix_fadvise(
                            file.fileno(), begin, images.nbytes, os.POSIX_FADV_DONTNEED
                        )
        except OSError as error:  # a DataLoader would keep its text only
            written = error
        pixels = hashlib.sha256(images.data).digest()
        return Chunk(len(paths), bad, pixels, channel_sums(images), written)


def _reason(error: Exception, path: str) -> str:
    if os.path.isfile(path) and os.path.getsize(path) == 0:
        return "empty file"
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
