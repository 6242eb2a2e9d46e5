"""Batches as whole tensors on the device: gather, augment, normalize; make the inputs of a task."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from ssl_rot.data.augment import Augment
from ssl_rot.data.images import Images
from ssl_rot.data.prefetch import prefetch
from ssl_rot.errors import ConfigError
from ssl_rot.seeding import generator
from ssl_rot.transfer import to_device

DEVICE_SHARE = 0.5
"""Share of the free GPU memory that images may occupy; the network needs the remainder."""

Task = Callable[[Tensor, torch.Generator], tuple[Tensor, Tensor]]
"""Makes the inputs of the network and their targets from a batch of images."""


class Batches:
    """Divides a split into batches that are ready for the network.

    Order and augmentation depend only on ``(seed, stream, epoch)``, not on the device or on earlier
    draws. The last batch may be smaller; no sample is dropped.

    Args:
        images: uint8 ``[N, C, H, W]``.
        labels: int64 ``[N]``; ``None`` if ``task`` returns the targets.
        batch_size: images per batch.
        mean: per channel, of pixels in [0, 1]; likewise ``std``.
        augment: ``None`` for evaluation.
        task: called with the normalized batch and a generator for this step; returns the inputs of
            the network ``[M, C, H', W']`` and their targets ``[M]``.
        task_on_pixels: whether ``task`` is called with pixels in [0, 1], and the inputs that it
            returns are normalized.
        stream: what the batches are for, e.g. ``"downstream"``.
        shuffle: a new order each epoch, for training. A last batch with fewer than two images per
            process is then merged into the one before, since BatchNorm cannot train on a single
            value per channel.
        samples: images of a shuffled epoch; ``None`` for one pass. With more, an epoch goes on with
            the next pass, and the next epoch where it stopped.
        part: index (from 0) and number of the parts that each batch is divided into, as evenly as
            possible, one for each process. Together, the parts are the batches of one process.

    Raises:
        ConfigError: a training batch has fewer than two images per process.
    """

    def __init__(
        self,
        images: Images | Tensor,
        labels: Tensor | None,
        *,
        batch_size: int,
        device: torch.device | str,
        mean: Sequence[float],
        std: Sequence[float],
        augment: Augment | None,
        task: Task | None = None,
        task_on_pixels: bool = False,
        seed: int,
        stream: str,
        shuffle: bool,
        samples: int | None = None,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        if labels is None and task is None:
            raise ValueError("without labels, the task must return the targets")
        self.device = torch.device(device)
        if isinstance(images, Tensor):
            images = Images(images)
        self.images: Images | Tensor = images
        if self.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self.device)
            if images.shape.numel() <= DEVICE_SHARE * free:
                self.images = images[:].to(self.device)
        self.labels = None if labels is None else labels.to(self.device)
        self.augment, self.task, self.task_on_pixels = augment, task, task_on_pixels
        self.seed, self.stream, self.shuffle = seed, stream, shuffle
        self.scale, self.shift = (each.to(self.device) for each in normalization(mean, std))
        self.part, self.parts = part
        self.samples = len(images) if samples is None else samples
        sizes = [batch_size] * (self.samples // batch_size)
        remainder = self.samples - sum(sizes)
        if shuffle and self.parts > 1 and min(batch_size, len(images)) < 2 * self.parts:
            raise ConfigError(
                [
                    f"{self.parts} processes need at least {2 * self.parts} images per batch; "
                    f"schedule.batch_size={batch_size}, with {len(images)} training images"
                ]
            )
        if shuffle and 0 < remainder < 2 * self.parts and sizes:
            sizes[-1] += remainder
        elif remainder:
            sizes.append(remainder)
        self.sizes = sizes

    def __len__(self) -> int:
        """Number of batches per epoch."""
        return len(self.sizes)

    @property
    def same_every_epoch(self) -> bool:
        """Whether no augmentation changes an image from one epoch to the next."""
        return self.augment is None or not self.augment.changes_images

    def rows(self, epoch: int) -> Iterator[Tensor]:
        """The row numbers of this part of each batch of an epoch, int64 on the CPU."""
        order = self._shuffled(epoch) if self.shuffle else torch.arange(len(self.images))
        for batch in torch.split(order, self.sizes):
            rows = batch.tensor_split(self.parts)[self.part]
            if len(rows):
                yield rows

    def _shuffled(self, epoch: int) -> Tensor:
        count, start = len(self.images), (epoch - 1) * self.samples
        first, last = start // count, (start + self.samples - 1) // count
        passes = [
            torch.randperm(count, generator=generator(self.seed, self.stream, "order", number + 1))
            for number in range(first, last + 1)
        ]
        return torch.cat(passes)[start - first * count :][: self.samples]

    @property
    def weights(self) -> list[float]:
        """For each batch: the weight of this part's mean in the mean of all parts' means."""
        return [len(range(self.part, size, self.parts)) * self.parts / size for size in self.sizes]

    def whole(self) -> Batches:
        """The same batches, not divided into parts."""
        undivided = copy.copy(self)
        undivided.part, undivided.parts = 0, 1
        return undivided

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All batches of one epoch.

        Yields:
            float32 ``[B, C, H, W]`` and int64 ``[B]``, on the device (``M`` of each with a task).
        """
        pairs = zip(self.rows(epoch), self._pixels(epoch), strict=True)
        for step, (rows, pixels) in enumerate(pairs):
            if self.augment is not None:
                draws = generator(self.seed, self.stream, "augment", epoch, step)
                size = self.sizes[step]
                first = sum(len(range(part, size, self.parts)) for part in range(self.part))
                pixels = self.augment(pixels, draws, size, first)
            if self.task is not None and self.task_on_pixels:
                inputs, targets = self.task(pixels.float() / 255, self._task_draws(epoch, step))
                yield self._normalize(inputs * 255), targets
                continue
            inputs = self._normalize(pixels.float())
            if self.task is not None:
                yield self.task(inputs, self._task_draws(epoch, step))
            else:
                assert self.labels is not None
                yield inputs, self.labels[to_device(rows, self.device)]

    def _normalize(self, pixels: Tensor) -> Tensor:
        return pixels.mul_(self.scale).add_(self.shift)

    def _task_draws(self, epoch: int, step: int) -> torch.Generator:
        # Each process has draws of its own; the first one's are those of a single process.
        names = (self.part,) if self.part else ()
        return generator(self.seed, self.stream, "task", epoch, step, *names)

    def _pixels(self, epoch: int) -> Iterator[Tensor]:
        if isinstance(self.images, Tensor):
            return (self.images[to_device(rows, self.device)] for rows in self.rows(epoch))
        if self.images.file is not None or self.device.type == "cuda":
            return prefetch(self.images, self.rows(epoch), self.device)
        return (self.images[rows].to(self.device) for rows in self.rows(epoch))


def normalization(mean: Sequence[float], std: Sequence[float]) -> tuple[Tensor, Tensor]:
    """``(x / 255 - mean) / std`` as one factor and one summand, float32 ``[1, C, 1, 1]``.

    Args:
        mean: per channel, of pixels in [0, 1]; likewise ``std``.
    """
    per_channel = torch.tensor([mean, std], dtype=torch.float64)[:, None, :, None, None]
    return (1 / (255 * per_channel[1])).float(), (-per_channel[0] / per_channel[1]).float()
