"""Decoding image files of any kind to square RGB arrays."""

import errno
import hashlib
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from ssl_rot.data.statistics import channel_sums


def decode(path: str, size: int) -> NDArray[np.uint8]:
    """Decodes one image file, upright, cropped to a square at the center, then resized.

    Gray, palette, transparent (alpha is dropped), CMYK and 16-bit images all become 8-bit RGB,
    ``[3, size, size]``. For damaged files, Pillow raises almost any type of exception.
    """
    if os.path.isdir(path):  # listed like a file, and not to be tried again
        raise ValueError("a link to a folder that contains it")
    if not os.path.isfile(path):  # opening a pipe or a socket could block forever
        raise FileNotFoundError(errno.ENOENT, "not a file, or a broken link")
    with Image.open(path) as image:
        if image.format == "EPS":  # Pillow would have Ghostscript run it
            raise ValueError("PostScript is a program, not an image")
        # JPEGs can be decoded at 1/2, 1/4 or 1/8 size; twice the final size loses nothing visible.
        if min(image.size) >= 4 * size:
            image.draft(None, (2 * size, 2 * size))
        # A photograph stored sideways would get wrong labels in the rotation task.
        ImageOps.exif_transpose(image, in_place=True)
        rgb = _to_rgb(image)
        if rgb.size != (size, size):
            side = min(rgb.size)
            left, top = (rgb.width - side) // 2, (rgb.height - side) // 2
            # Not resize's box argument: its filter reads pixels beyond the box.
            square = rgb.crop((left, top, left + side, top + side))
            rgb = square.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0)
        return np.asarray(rgb).transpose(2, 0, 1)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("floating-point pixels have no fixed range")
    if image.mode.startswith("I"):  # Pillow would clip 16-bit values to 255, not scale them
        gray = np.asarray(image).clip(0, 65535) // 257
        image = Image.fromarray(gray.astype(np.uint8))
    return image if image.mode == "RGB" else image.convert("RGB")


@contextmanager
def refusing_bombs() -> Iterator[None]:
    """Inside the block, in all threads, decompression bombs raise and Pillow warns of nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


@dataclass(frozen=True)
class BadFile:
    """The row of a file that cannot be decoded, and why."""

    row: int
    reason: str
    unreadable: bool
    """The system could not read it, which may change without a change to the file."""


@dataclass(frozen=True)
class DecodedChunk:
    """The result of decoding a few files."""

    bad: list[BadFile]
    pixels: bytes
    """A hash of all of them."""
    sums: NDArray[np.int64]
    """As returned by :func:`channel_sums`."""
    error: OSError | None
    """Why the pixels could not be written."""


@dataclass(frozen=True)
class ChunkDecoder:
    """All files of a folder, in chunks that the workers of a ``DataLoader`` decode.

    Workers write pixels directly to the ``target``, uint8 ``[N, 3, size, size]`` after a header of
    ``offset`` bytes: passing them between processes would keep another core busy.
    """

    paths: Sequence[str]
    size: int
    chunk_length: int
    target: Path
    offset: int

    def __len__(self) -> int:
        return -(-len(self.paths) // self.chunk_length)

    def __getitem__(self, chunk: int) -> DecodedChunk:
        """Decodes and writes one chunk; a bad file becomes a black image."""
        first = chunk * self.chunk_length
        paths = self.paths[first : first + self.chunk_length]
        images = np.zeros((len(paths), 3, self.size, self.size), np.uint8)
        bad = []
        with refusing_bombs():
            for i, path in enumerate(paths):
                try:
                    images[i] = decode(path, self.size)
                except Exception as error:
                    unreadable = isinstance(error, MemoryError) or (
                        isinstance(error, OSError) and error.errno is not None
                    )
                    bad.append(BadFile(first + i, describe_failure(error, path), unreadable))
        write_error = None
        try:
            self._write(images, self.offset + first * images[0].nbytes)
        except OSError as error:  # returned, since a DataLoader would keep only its text
            write_error = error
        pixels = hashlib.sha256(images.data).digest()
        return DecodedChunk(bad, pixels, channel_sums(images), write_error)

    def _write(self, images: NDArray[np.uint8], offset: int) -> None:
        with self.target.open("r+b") as file:
            file.seek(offset)
            file.write(images.data)
            file.flush()
            if sys.platform == "linux":
                # Starts writing to disk now, which shortens the wait at the end.
                with suppress(OSError):
                    os.posix_fadvise(file.fileno(), offset, images.nbytes, os.POSIX_FADV_DONTNEED)


def describe_failure(error: Exception, path: str) -> str:
    """Why :func:`decode` failed, in a few words."""
    if os.path.isfile(path) and os.path.getsize(path) == 0:
        return "empty file"
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
