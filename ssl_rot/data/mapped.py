"""An array in a file that may be larger than memory, read when it is looked at."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


class MappedFile:
    """A memory map of an array that is read in no order.

    By itself the system reads on around every page that it misses, for some disks by megabytes: of
    images drawn at random it would throw most of that away again. So it is told not to, and which
    rows are wanted next, and reads those at once and side by side.

    Args:
        path: of a ``.npy`` file, which never changes.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged.
    """

    def __init__(self, path: Path) -> None:
        # Copy-on-write: pages are shared with the file until written to.
        array = np.load(path, mmap_mode="c")
        self.tensor: Tensor = torch.from_numpy(array)
        self._map = array.base
        self._first = array.offset % mmap.ALLOCATIONGRANULARITY
        self._row = array.nbytes // max(len(array), 1)
        if hasattr(mmap, "MADV_RANDOM"):
            self._map.madvise(mmap.MADV_RANDOM)

    def will_need(self, rows: Tensor) -> None:
        """Has the system begin to read some rows (int64 ``[n]``), where it can be told to."""
        if not hasattr(mmap, "MADV_WILLNEED"):
            return
        for row in rows.tolist():
            start = self._first + row * self._row
            page = start - start % mmap.PAGESIZE
            self._map.madvise(mmap.MADV_WILLNEED, page, start + self._row - page)
