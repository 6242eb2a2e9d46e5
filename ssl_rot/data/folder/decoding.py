"""Decoding images, many at a time."""

import errno
import hashlib
import io
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from ssl_rot.data.folder.encoded import EncodedImages
from ssl_rot.data.folder.pixels import square_pixels
from ssl_rot.data.statistics import channel_sums


def decode(image: str | bytes, size: int) -> NDArray[np.uint8]:
    """The :func:`square_pixels` of one image: the path of a file, or its content.

    For damaged images, Pillow raises almost any type of exception.
    """
    if isinstance(image, bytes):
        with Image.open(io.BytesIO(image)) as opened:
            return square_pixels(opened, size)
    path = image
    if os.path.isdir(path):  # listed like a file, and not to be tried again
        raise ValueError("a link to a folder that contains it")
    if not os.path.isfile(path):  # opening a pipe or a socket could block forever
        raise FileNotFoundError(errno.ENOENT, "not a file, or a broken link")
    with Image.open(path) as opened:
        return square_pixels(opened, size)


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
    """All images of a listing, in chunks that the workers of a ``DataLoader`` decode.

    Workers write pixels directly to the ``target``, uint8 ``[N, 3, size, size]`` after a header of
    ``offset`` bytes: passing them between processes would keep another core busy.
    """

    encoded: EncodedImages
    size: int
    chunk_length: int
    target: Path
    offset: int

    def __len__(self) -> int:
        return -(-len(self.encoded) // self.chunk_length)

    def __getitem__(self, chunk: int) -> DecodedChunk:
        """Decodes and writes one chunk; a bad file becomes a black image."""
        first = chunk * self.chunk_length
        encoded = self.encoded[first : first + self.chunk_length]
        images = np.zeros((len(encoded), 3, self.size, self.size), np.uint8)
        bad = []
        with refusing_bombs():
            for i, each in enumerate(encoded):
                try:
                    images[i] = decode(each, self.size)
                except Exception as error:
                    unreadable = isinstance(error, MemoryError) or (
                        isinstance(error, OSError) and error.errno is not None
                    )
                    bad.append(BadFile(first + i, describe_failure(error, each), unreadable))
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


def describe_failure(error: Exception, image: str | bytes) -> str:
    """Why :func:`decode` failed, in a few words."""
    if not image or (os.path.isfile(image) and os.path.getsize(image) == 0):
        return "empty file"
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
