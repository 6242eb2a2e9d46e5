"""An epoch over a file four times larger than the memory it may be kept in.

    sudo python benchmarks/larger_than_memory.py       two minutes on two cores; Linux, as root

resnet_tiny, the quickest network there is, on 32x32 images, each seen once an epoch, in a control
group of its own. In turns: all images in memory; and the images mapped from a file, with the
group's limit set so that besides what training itself takes a quarter of the file fits. The file's
pages are dropped before each epoch, so that none is left from when there was no limit. Prints the
median seconds of an epoch with the smallest and the largest, and writes
benchmarks/larger_than_memory.json.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from _common import conclude, in_turns
from _training import batches, classifier, random_images, schedule
from torch import nn

from ssl_rot.compute import Compute, resolve
from ssl_rot.data import Images
from ssl_rot.freeze import Nothing
from ssl_rot.train import fit

QUARTER = 4
SPARE = 32 * 2**20  # bytes, for what one epoch takes more than another


class ControlGroup:
    """Of the system's memory controller, version 1 or 2; this process joins it."""

    def __init__(self) -> None:
        lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
        first = next((path for _, names, path in lines if "memory" in names.split(",")), None)
        if first is not None:
            base, self.limit_file = Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"
            self.own, self.anonymous = base / first.lstrip("/"), "rss"
        else:
            base, self.limit_file = Path("/sys/fs/cgroup"), "memory.max"
            self.own, self.anonymous = base / lines[0][2].lstrip("/"), "anon"
        self.none = "-1" if first is not None else "max"
        self.folder = self.own / f"benchmark-{os.getpid()}"

    def __enter__(self) -> ControlGroup:
        self.folder.mkdir()
        (self.folder / "cgroup.procs").write_text(str(os.getpid()))
        return self

    def __exit__(self, *_: object) -> None:
        self.limit(None)
        (self.own / "cgroup.procs").write_text(str(os.getpid()))
        self.folder.rmdir()

    def limit(self, count: int | None) -> None:
        value = self.none if count is None else str(count)
        (self.folder / self.limit_file).write_text(value)

    def own_memory(self) -> int:
        """Bytes of the process, without the files that the system keeps for it."""
        stat = (self.folder / "memory.stat").read_text()
        return next(
            int(line.split()[1]) for line in stat.splitlines() if line.split()[0] == self.anonymous
        )

    @contextmanager
    def watched(self) -> Iterator[list[int]]:
        """Gives the most memory that the process holds inside the block, when it ends."""
        done, most = threading.Event(), [self.own_memory()]

        def watch() -> None:
            while not done.wait(0.01):
                most[0] = max(most[0], self.own_memory())

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield most
        finally:
            done.set()
            watcher.join()


def epoch_seconds(images: Images, compute: Compute) -> float:
    labels = torch.arange(len(images)) % 10
    train = batches(images, labels, 250, compute, train=True)
    began = time.perf_counter()
    fit(
        classifier(10, "resnet_tiny"),
        train,
        {},
        loss_fn=nn.CrossEntropyLoss(),
        schedule=schedule(1, 250),
        policy=Nothing(),
        compute=compute,
        seed=0,
        phase="downstream",
        log=lambda epoch, record: None,
    )
    return time.perf_counter() - began


@contextmanager
def capped(group: ControlGroup, path: Path, training: int) -> Iterator[Images]:
    """The file's images; beside ``training`` bytes a quarter of the file fits in memory."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    images = Images(torch.from_numpy(np.load(path, mmap_mode="c")), mapped=True)
    group.limit(training + path.stat().st_size // QUARTER + SPARE)
    try:
        yield images
    finally:
        group.limit(None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    compute = resolve("cpu", "auto")
    try:
        group = ControlGroup().__enter__()
    except OSError as error:
        sys.exit(f"Cannot limit the memory of a process here ({error}); it takes Linux and root.")
    with tempfile.TemporaryDirectory() as folder:
        try:
            path = Path(folder) / "images.npy"
            with path.open("wb") as file:
                np.save(file, random_images(args.images).numpy())
                os.fsync(file.fileno())
            in_memory = Images(random_images(args.images))
            with group.watched() as most:  # the images in memory are there on both sides
                epoch_seconds(in_memory, compute)

            def mapped() -> float:
                with capped(group, path, most[0]) as images:
                    return epoch_seconds(images, compute)

            times = in_turns(
                {
                    "a quarter in memory": mapped,
                    "all in memory": lambda: epoch_seconds(in_memory, compute),
                },
                args.repeats,
            )
        finally:
            group.__exit__()
    goals = {("a quarter in memory", "all in memory"): "at most 1.15"}
    about = {"images": args.images, "precision": compute.precision}
    conclude(__file__, times, unit="s", goals=goals, **about)


if __name__ == "__main__":
    main()
