"""The next batch out of an array that may be larger than memory, while the device works."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import torch
from torch import Tensor

from ssl_rot.data.types import Images

AHEAD = 2
"""Batches that may wait: one would do, but for a disk that stutters."""


def gathered(images: Images, batches: Iterator[Tensor], device: torch.device) -> Iterator[Tensor]:
    """The images of each batch, gathered by one thread while the caller is busy with others.

    Args:
        images: in memory, or mapped from a file.
        batches: int64 ``[B]`` each, positions in ``images``.
        device: where they are wanted. To a GPU they go by pinned memory, so that the copy runs
            beside the computation too.

    Yields:
        uint8 ``[B, C, H, W]`` on the device, in the order of ``batches``.
    """
    cuda = device.type == "cuda"
    waiting: deque[Future[Tensor]] = deque()
    # Which GPU is the current one is a matter of each thread: pinning makes use of it.
    enter = partial(torch.cuda.set_device, device) if cuda and device.index is not None else None
    with ThreadPoolExecutor(1, initializer=enter) as thread:
        for rows in batches:
            waiting.append(thread.submit(_gather, images, rows, pin=cuda))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result().to(device, non_blocking=True)
        while waiting:
            yield waiting.popleft().result().to(device, non_blocking=True)


def _gather(images: Images, rows: Tensor, *, pin: bool) -> Tensor:
    images.will_need(rows)
    pixels = images[rows]
    return pixels.pin_memory() if pin else pixels
