"""Images as rows of one array, in memory or mapped from a file, and resizing them."""

from __future__ import annotations

import mmap
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


class MappedFile:
    """A memory map of a ``.npy`` file that never changes, whose rows are read in random order.

    By default, the operating system reads ahead around every missing page, by megabytes on some
    disks. For images drawn at random, most of that would be thrown away. So read-ahead is switched
    off, and :meth:`will_need` names the rows to read next, all at once and in parallel.
    """

    def __init__(self, path: Path) -> None:
        # Copy-on-write: pages are shared with the file until written to.
        array = np.load(path, mmap_mode="c")
        self.tensor: Tensor = torch.from_numpy(array)
        self._map = array.base
        self._offset = array.offset % mmap.ALLOCATIONGRANULARITY
        self._row_bytes = array.nbytes // max(len(array), 1)
        if hasattr(mmap, "MADV_RANDOM"):
            self._map.madvise(mmap.MADV_RANDOM)

    def will_need(self, rows: Tensor) -> None:
        """Starts reading rows (int64 ``[n]``) in the background, on systems that support it."""
        if not hasattr(mmap, "MADV_WILLNEED"):
            return
        for row in rows.tolist():
            start = self._offset + row * self._row_bytes
            page = start - start % mmap.PAGESIZE
            self._map.madvise(mmap.MADV_WILLNEED, page, start + self._row_bytes - page)


@dataclass(frozen=True)
class Images:
    """Some rows of an array of images, which may be a memory map larger than memory.

    So a subset is a list of row numbers; nothing is copied until it is indexed.

    Args:
        base: uint8 ``[M, C, H, W]``.
        rows: int64 ``[N]``, the rows of ``base`` in the subset, in order; ``None`` for all.
        file: the file that ``base`` is mapped from, if any; reading it may have to wait for a disk.
    """

    base: Tensor
    rows: Tensor | None = None
    file: MappedFile | None = None

    def __len__(self) -> int:
        return len(self.base) if self.rows is None else len(self.rows)

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        """uint8 ``[n, C, H, W]``: the images at these positions."""
        return self.base[index if self.rows is None else self.rows[index]]

    def will_need(self, index: Tensor) -> None:
        """Announces which images are indexed next, so that they are read from disk together."""
        if self.file is not None:
            self.file.will_need(index if self.rows is None else self.rows[index])

    @property
    def shape(self) -> torch.Size:
        """``(N, C, H, W)``."""
        return torch.Size((len(self), *self.base.shape[1:]))

    def select(self, index: Tensor) -> Images:
        """The images at ``index`` (int64 ``[n]``), as rows of the same array."""
        return replace(self, rows=index if self.rows is None else self.rows[index])


def resize(images: Tensor, size: int, chunk: int = 1024) -> Tensor:
    """Resizes uint8 ``[N, C, H, W]`` to ``size`` pixels a side (bilinear, antialiased)."""
    if images.shape[-2:] == (size, size):
        return images
    out = images.new_empty((*images.shape[:2], size, size))
    for start in range(0, len(images), chunk):  # all images at once, as floats, take 4x the memory
        part = images[start : start + chunk].float()
        resized = F.interpolate(part, size=(size, size), mode="bilinear", antialias=True)
        out[start : start + chunk] = resized.round_().clamp_(0, 255)
    return out
