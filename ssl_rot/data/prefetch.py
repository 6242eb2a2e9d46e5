"""Gathering the next batches while the device works on the current one."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import torch
from torch import Tensor

from ssl_rot.data.images import Images

BATCHES_AHEAD = 2
"""One would do, if it were not for disks whose speed varies."""


def prefetch(images: Images, batches: Iterator[Tensor], device: torch.device) -> Iterator[Tensor]:
    """Gathers the images at the positions of each batch in a thread, ahead of the caller.

    Batches reach a GPU through pinned memory, so that copying, too, overlaps with computation.
    """
    cuda = device.type == "cuda"
    pending: deque[Future[Tensor]] = deque()
    # Pinning uses the current GPU, which is set for each thread separately.
    set_gpu = partial(torch.cuda.set_device, device) if cuda and device.index is not None else None
    with ThreadPoolExecutor(1, initializer=set_gpu) as thread:
        for rows in batches:
            pending.append(thread.submit(_gather, images, rows, pin=cuda))
            if len(pending) > BATCHES_AHEAD:
                yield pending.popleft().result().to(device, non_blocking=True)
        while pending:
            yield pending.popleft().result().to(device, non_blocking=True)


def _gather(images: Images, rows: Tensor, *, pin: bool) -> Tensor:
    images.will_need(rows)
    pixels = images[rows]
    return pixels.pin_memory() if pin else pixels
