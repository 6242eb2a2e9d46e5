"""What trivial methods reach on raw pixels: the nearest neighbor, and logistic regression."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_rot.data import Images, Split
from ssl_rot.seeding import generator

MAX_SIDE = 32
"""Pixels a side; larger images are averaged down to it."""
MAX_IMAGES = 50_000
"""Training images; of more, as many are drawn."""
_MAX_STEPS = 100  # of L-BFGS
_CHUNK = 4096  # images whose distances are in memory at once


def measure_floors(
    train: Split, test: Split, num_classes: int, device: torch.device
) -> dict[str, float]:
    """Fits both methods to ``train`` and tests them on ``test``.

    Logistic regression is multinomial and has scikit-learn's default penalty (C=1), on pixels that
    are centered and divided by one common standard deviation.

    Returns:
        The accuracies ``knn_acc`` and ``linear_acc``, the number of ``images`` used for training,
        and ``image_side``, the height in pixels at which they are compared.
    """
    if len(train) > MAX_IMAGES:
        draws = generator(0, "floors", len(train))
        train = train.select(torch.randperm(len(train), generator=draws)[:MAX_IMAGES])
    pixels = torch.cat([*_chunks(train.images, device)])
    center = pixels.mean(0)
    scale = (pixels - center).std().clamp_min(1e-6)
    pixels = (pixels - center) / scale
    labels = train.labels.to(device)
    weights, bias = _fit_logistic_regression(pixels, labels, num_classes)
    hits = torch.zeros(2)
    for part, targets in zip(
        _chunks(test.images, device), torch.split(test.labels.to(device), _CHUNK), strict=True
    ):
        inputs = (part - center) / scale
        nearest = labels[_find_nearest(inputs, pixels)]
        linear = (inputs @ weights + bias).argmax(1)
        hits += torch.stack([(nearest == targets).sum(), (linear == targets).sum()]).cpu()
    knn_acc, linear_acc = (hits.double() / len(test)).tolist()
    return {
        "knn_acc": knn_acc,
        "linear_acc": linear_acc,
        "images": float(len(train)),
        "image_side": float(min(train.images.shape[-2], MAX_SIDE)),
    }


def _chunks(images: Images, device: torch.device) -> Iterator[Tensor]:
    """The images as vectors, float32 ``[n, D]``."""
    for rows in torch.split(torch.arange(len(images)), _CHUNK):
        images.will_need(rows)
        part = images[rows].to(device).float()
        if max(part.shape[-2:]) > MAX_SIDE:
            sides = [min(side, MAX_SIDE) for side in part.shape[-2:]]
            part = F.interpolate(part, size=sides, mode="area")
        yield part.flatten(1) / 255


def _find_nearest(inputs: Tensor, pixels: Tensor) -> Tensor:
    """The index of the row of ``pixels`` that is nearest to each of the ``inputs``."""
    nearest, least = [], []
    for start, part in zip(range(0, len(pixels), _CHUNK), torch.split(pixels, _CHUNK), strict=True):
        # The squared distance, less the inputs' own squares, which all rows have in common.
        distance = part.square().sum(1) - 2 * inputs @ part.T
        values, index = distance.min(1)
        nearest.append(index + start)
        least.append(values)
    best = torch.stack(least).argmin(0, keepdim=True)
    return torch.stack(nearest).gather(0, best)[0]


def _fit_logistic_regression(
    pixels: Tensor, labels: Tensor, num_classes: int
) -> tuple[Tensor, Tensor]:
    weights = pixels.new_zeros(pixels.shape[1], num_classes).requires_grad_()
    bias = pixels.new_zeros(num_classes).requires_grad_()
    optimizer = torch.optim.LBFGS(
        [weights, bias], max_iter=_MAX_STEPS, tolerance_grad=1e-5, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        penalty = weights.square().sum() / (2 * len(pixels))
        value = F.cross_entropy(pixels @ weights + bias, labels) + penalty
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return weights.detach(), bias.detach()
