"""A memory-mapped array that may be larger than memory."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


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
