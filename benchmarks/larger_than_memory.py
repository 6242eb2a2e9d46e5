"""An epoch on images four times as large as their share of memory, against all in memory.

    python benchmarks/larger_than_memory.py            three minutes on two cores; Linux

An epoch of `resnet18` on 20,000 labeled images of 32x32. That reads four times as many images per
second from disk as the pretext phase, which rotates each image four ways. One side has the images
in memory, the other in a memory-mapped file, like the image cache. The memory limit needs no
support from the system: five times a second, a thread checks how much of the file is in memory,
and has the system drop random pages until less than a quarter is left. Those are read from disk
again; pages that were only read ahead are dropped too. Prints each side's median with the smallest
and the largest, how much was in memory and how much was read, and writes
benchmarks/larger_than_memory.json.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import numpy as np
import torch
from _common import conclude, in_turns
from _training import batches, classifier, random_images
from torch import nn

from ssl_rot.data import Batches, Images
from ssl_rot.data.images import MappedFile
from ssl_rot.training.compute import Compute, resolve_compute

SHARE = 4
CLASSES = 10
MADV_PAGEOUT = 21
PAGE = os.sysconf("SC_PAGE_SIZE")
CHUNK = 32 * PAGE
EVERY_S = 0.2
# Share of the budget that is left after a check, so that the budget holds until the next one.
LEFT = 0.8


class Cap:
    """Keeps no more than ``budget`` bytes of a mapped file in memory while it is entered."""

    def __init__(self, file: int, mapped: torch.Tensor, budget: int) -> None:
        self.file, self.budget = file, budget
        self.start = mapped.data_ptr() // PAGE * PAGE  # the file's first page: its header is short
        self.length = mapped.data_ptr() + mapped.numel() - self.start
        self.most = 0
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._pages = np.zeros(-(-self.length // PAGE), np.uint8)

    def resident(self) -> int:
        """Bytes of the file that are in memory."""
        self._call("mincore", 0, self.length, ctypes.c_void_p(self._pages.ctypes.data))
        self._pages &= 1
        return int(self._pages.sum()) * PAGE

    def enforce(self) -> None:
        """Drops random pages until the budget will hold until the next check."""
        excess = self.resident() - int(LEFT * self.budget)
        if excess <= 0:
            return
        for offset in random.sample(range(0, self.length, CHUNK), -(-self.length // CHUNK)):
            if excess <= 0:
                break
            excess -= int(self._pages[offset // PAGE : (offset + CHUNK) // PAGE].sum()) * PAGE
            size = min(CHUNK, self.length - offset)
            self._call("madvise", offset, size, ctypes.c_int(MADV_PAGEOUT))
        # Drops what was only read ahead: pages that a process has mapped stay.
        os.posix_fadvise(self.file, 0, 0, os.POSIX_FADV_DONTNEED)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Enforces the budget in a thread."""
        done = threading.Event()

        def watch() -> None:
            while not done.wait(EVERY_S):
                self.enforce()
                self.most = max(self.most, self.resident())

        self.enforce()
        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _call(self, name: str, offset: int, size: int, last: object) -> None:
        address = ctypes.c_void_p(self.start + offset)
        if getattr(self._libc, name)(address, ctypes.c_size_t(size), last):
            code = ctypes.get_errno()
            raise OSError(code, f"{name}: {os.strerror(code)}")


def read_from_disk() -> int:
    """Bytes that this process has caused to be read from a disk so far."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["read_bytes"])


def seconds(data: Batches, compute: Compute) -> float:
    """Time of an epoch, with a new network each time."""
    model = classifier(outputs=CLASSES)
    compute.place(model)
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    began = time.perf_counter()
    for inputs, targets in data.epoch(1):
        loss = nn.functional.cross_entropy(compute.logits(model, inputs), targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    loss.item()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=250)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--folder", type=Path, help="a folder on the disk to measure; default: temporary"
    )
    args = parser.parse_args()
    if sys.platform != "linux":
        sys.exit("this benchmark needs Linux, since it uses MADV_PAGEOUT and mincore")
    compute = resolve_compute("cpu", "auto")
    images = random_images(args.images)
    labels = torch.arange(args.images) % CLASSES
    read: list[float] = []
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(dir=args.folder))
        file = Path(folder) / "images.npy"
        np.save(file, images.numpy())
        opened = stack.enter_context(file.open("rb"))
        os.fsync(opened.fileno())  # a page that is not on the disk yet cannot be dropped
        on_disk = MappedFile(file)
        mapped = on_disk.tensor
        cap = Cap(opened.fileno(), mapped, mapped.numel() // SHARE)
        in_memory, from_disk = (
            batches(data, labels, args.batch, compute, train=True)
            for data in (Images(images), Images(on_disk.tensor, file=on_disk))
        )

        def capped() -> float:
            before = read_from_disk()
            with cap.kept():
                taken = seconds(from_disk, compute)
            read.append((read_from_disk() - before) / 2**20)
            return taken

        sides = {"mapped": capped, "in memory": lambda: seconds(in_memory, compute)}
        times = in_turns(sides, args.repeats)
    mebibytes, most = mapped.numel() / 2**20, cap.most / 2**20
    print(
        f"{mebibytes:.0f} MiB of images, at most {most:.0f} MiB of them in memory; "
        f"{median(read):.0f} MiB read from disk per epoch"
    )
    conclude(
        __file__,
        times,
        unit="s",
        goals={("mapped", "in memory"): "at most 1.15"},
        images_mib=mebibytes,
        budget_mib=cap.budget / 2**20,
        most_in_memory_mib=most,
        read_mib=read[1:],
    )


if __name__ == "__main__":
    main()
