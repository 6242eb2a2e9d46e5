"""Batches as whole tensors on the device: gather, convert, augment, normalise, turn."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from ssl_rot.data.augment import Augment
from ssl_rot.data.prefetch import gathered
from ssl_rot.data.types import Images
from ssl_rot.errors import ConfigError
from ssl_rot.seeding import generator

# Of the GPU memory that is free, what images may take for good; the rest is the network's.
DEVICE_SHARE = 0.5


class Batches:
    """Cuts a split into batches that are ready for the network.

    Order and augmentation depend on ``(seed, stream, epoch)`` and on nothing else: not on the
    device, nor on what was drawn before. The last batch may be smaller, and no sample is left out.

    Args:
        images: uint8 ``[N, C, H, W]``.
        labels: int64 ``[N]``; ``None`` where ``turn`` gives the targets.
        batch_size: images a batch, before turning.
        device: where the batches are made.
        mean: per channel, of pixels in [0, 1].
        std: likewise.
        augment: ``None`` for evaluation.
        turn: called with the normalised batch; returns the turned images ``[T*B, C, H, W]`` and
            their targets ``[T*B]``.
        seed: the run's.
        stream: what the batches are for, e.g. ``"downstream"``.
        shuffle: a new order each epoch, for training. A last batch of one image then joins the
            one before, since BatchNorm cannot train on a single value per channel.
        part: which part of each batch, from 0, and of how many, as equal as can be: what one of
            several processes works on. Together they make the batches of one.

    Raises:
        ConfigError: a training batch has not two images for each process.
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
        rotate: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None,
        seed: int,
        stream: str,
        shuffle: bool,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        if labels is None and rotate is None:
            raise ValueError("without labels, rotate must give the targets")
        self.device = torch.device(device)
        if isinstance(images, Tensor):
            images = Images(images)
        self.images = images[:].to(self.device) if _fits(images, self.device) else images
        self.labels = None if labels is None else labels.to(self.device)
        self.augment, self.rotate = augment, rotate
        self.seed, self.stream, self.shuffle = seed, stream, shuffle
        # (x / 255 - mean) / std as one multiplication and one addition.
        per_channel = torch.tensor([mean, std], dtype=torch.float64)[:, None, :, None, None]
        self.scale = (1 / (255 * per_channel[1])).float().to(self.device)
        self.shift = (-per_channel[0] / per_channel[1]).float().to(self.device)
        self.part, self.parts = part
        sizes = [batch_size] * (len(images) // batch_size)
        rest = len(images) - sum(sizes)
        if shuffle and self.parts > 1 and min(batch_size, len(images)) < 2 * self.parts:
            raise ConfigError(
                [
                    f"{self.parts} processes need at least {2 * self.parts} images a batch; "
                    f"schedule.batch_size={batch_size}, of {len(images)} training images"
                ]
            )
        if shuffle and 0 < rest < 2 * self.parts and sizes:
            sizes[-1] += rest
        elif rest:
            sizes.append(rest)
        self.sizes = sizes

    def __len__(self) -> int:
        """Steps per epoch."""
        return len(self.sizes)

    @property
    def same_every_epoch(self) -> bool:
        """Whether an image always looks the same: nothing random happens to its pixels."""
        return self.augment is None or not (self.augment.crop_padding or self.augment.flip)

    def rows(self, epoch: int) -> Iterator[Tensor]:
        """The images of this part of each batch of an epoch, as int64 row numbers on the CPU."""
        order = torch.arange(len(self.images))
        if self.shuffle:
            draws = generator(self.seed, self.stream, "order", epoch)
            order = torch.randperm(len(order), generator=draws)
        parts = (
            rows.tensor_split(self.parts)[self.part] for rows in torch.split(order, self.sizes)
        )
        return (rows for rows in parts if len(rows))

    @property
    def weights(self) -> list[float]:
        """By batch: what the mean over this part counts in the mean of the parts' means."""
        return [len(range(self.part, size, self.parts)) * self.parts / size for size in self.sizes]

    def whole(self) -> Batches:
        """The same batches, undivided."""
        undivided = copy.copy(self)
        undivided.part, undivided.parts = 0, 1
        return undivided

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All batches of one epoch.

        Yields:
            float32 ``[B, C, H, W]`` and int64 ``[B]``, on the device (``T*B`` with ``turn``).
        """
        pairs = zip(self.rows(epoch), self._pixels(epoch), strict=True)
        for step, (rows, pixels) in enumerate(pairs):
            if self.augment is not None:
                draws = generator(self.seed, self.stream, "augment", epoch, step)
                size = self.sizes[step]
                first = sum(len(range(part, size, self.parts)) for part in range(self.part))
                pixels = self.augment(pixels, draws, size, first)
            inputs = pixels.float().mul_(self.scale).add_(self.shift)
            if self.rotate is not None:
                yield self.rotate(inputs)
            else:
                assert self.labels is not None
                yield inputs, self.labels[rows.to(self.device)]

    def _pixels(self, epoch: int) -> Iterator[Tensor]:
        """uint8 ``[B, C, H, W]`` of each batch, on the device."""
        if isinstance(self.images, Tensor):
            return (self.images[rows.to(self.device)] for rows in self.rows(epoch))
        if self.images.file is not None or self.device.type == "cuda":
            return gathered(self.images, self.rows(epoch), self.device)
        return (self.images[rows].to(self.device) for rows in self.rows(epoch))


def _fits(images: Images, device: torch.device) -> bool:
    """Whether all the images may stay on the device from the start."""
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return images.shape.numel() <= DEVICE_SHARE * free
