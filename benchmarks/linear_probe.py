"""A linear probe of 50 epochs with its features kept, against the backbone in every epoch.

    python benchmarks/linear_probe.py                  two minutes on two cores

Both sides have the same frozen resnet18, images, labels, head and training loop, and alternate.
They give the same numbers, bit for bit (tests/unit/training/). The time includes computing the
features. Prints each side's median with the smallest and the largest, and writes
benchmarks/linear_probe.json.
"""

from __future__ import annotations

import argparse
import time
from unittest.mock import patch

import torch
from _common import conclude, in_turns
from _training import batches, classifier, random_images, schedule
from torch import nn

from ssl_rot.data import Images
from ssl_rot.freeze import FreezeBackbone
from ssl_rot.training import loop
from ssl_rot.training.compute import Compute, resolve_compute
from ssl_rot.training.features import precompute
from ssl_rot.training.phase import Phase


def seconds(images: torch.Tensor, epochs: int, compute: Compute, *, keep: bool) -> float:
    labels = torch.arange(len(images)) % 10
    train_set, test_set = (
        batches(Images(images[rows]), labels[rows], 250, compute, train=train)
        for train, rows in ((True, slice(0, None, 2)), (False, slice(1, None, 2)))
    )
    model = classifier(outputs=10)
    with patch.object(loop, "precompute", precompute if keep else lambda *_: None):
        began = time.perf_counter()
        phase = Phase(
            name="downstream",
            model=model,
            train=train_set,
            evaluations={"test": test_set},
            loss_fn=nn.CrossEntropyLoss(),
            schedule=schedule(epochs, 250),
            freeze=FreezeBackbone(),
            seed=0,
        )
        loop.fit(phase, compute, log=lambda epoch, record: None)
        return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000, help="half of them are test images")
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    compute, images = resolve_compute("cpu", "auto"), random_images(args.images)
    times = in_turns(
        {
            "backbone every epoch": lambda: seconds(images, args.epochs, compute, keep=False),
            "features kept": lambda: seconds(images, args.epochs, compute, keep=True),
        },
        args.repeats,
    )
    goals = {("backbone every epoch", "features kept"): "at least 10"}
    conclude(__file__, times, unit="s", goals=goals, **vars(args), precision=compute.precision)


if __name__ == "__main__":
    main()
