"""Memory of 50,000 images as pretext data, against the article's list.

    python benchmarks/memory.py                        two minutes

Each side runs in a process of its own and builds its data from the same array: the split of a run,
from which a few rotated batches are then made, and the article's list of 200,000 rotated float
tensors. The figure is the memory that a process holds in addition to what it held with torch
imported. Prints each side's median with the smallest and the largest, and writes
benchmarks/memory.json.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path

import torch
from _common import conclude, in_turns
from _training import ANGLES, MEAN, STD, batches, random_images

from ssl_rot.data import Images
from ssl_rot.training.compute import Compute

Kept = tuple[object, ...]


def ours(count: int) -> Kept:
    images = Images(random_images(count))
    data = batches(images, None, 250, Compute(torch.device("cpu"), "fp32"), train=True)
    for _ in islice(data.epoch(1), 3):
        pass
    return (data,)


def article(count: int) -> Kept:
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    samples = [
        torch.rot90((image / 255 - mean) / std, quarter, (1, 2)).contiguous()
        for image in random_images(count)
        for quarter in range(len(ANGLES))
    ]
    return (samples,)


def held() -> int:
    """Bytes of memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _measure(make: Callable[[int], Kept], count: int, result: multiprocessing.Queue[float]) -> None:
    make(500)  # loads what is only loaded at first use
    before = held()
    kept = make(count)
    result.put((held() - before) / 2**20)
    del kept


def mebibytes(make: Callable[[int], Kept], count: int) -> float:
    context = multiprocessing.get_context("spawn")
    result: multiprocessing.Queue[float] = context.Queue()
    process = context.Process(target=_measure, args=(make, count, result))
    process.start()
    value = result.get()
    process.join()
    return value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    figures = in_turns(
        {
            "uint8 images": partial(mebibytes, ours, args.images),
            "the article's list": partial(mebibytes, article, args.images),
        },
        args.repeats,
    )
    goals = {("uint8 images", "the article's list"): "at most 0.083"}
    conclude(__file__, figures, unit="MiB", goals=goals, images=args.images)


if __name__ == "__main__":
    main()
