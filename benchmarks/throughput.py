"""Images per second of the pretext phase, against its upper bound and the article's method.

    python benchmarks/throughput.py                    five minutes on two cores
    python benchmarks/throughput.py --images 1500 --batch 250

resnet18 on rotated 32x32 images in batches of about the article's size, 1,021 images rotated four
ways (it had 4,086), in the precision of `precision=auto`. Three sides alternate, each with a new
network: the whole loop of a run with its logging to MLflow; the same network trained on one
synthetic batch; and the article's method, a list of rotated float tensors in a DataLoader, float32.
None of them includes evaluation. Prints each side's median with the smallest and the largest, and
writes benchmarks/throughput.json.
"""

from __future__ import annotations

import argparse
import time

import torch
from _common import conclude, in_turns
from _training import ANGLES, MEAN, STD, Pretext, classifier, random_images
from _training import synthetic_images_per_second as synthetic
from torch import nn
from torch.utils.data import DataLoader

from ssl_rot.data import Images
from ssl_rot.training.compute import resolve_compute


def article(images: torch.Tensor, batch: int) -> float:
    """The article's loop: every rotated image is a tensor of its own, made beforehand."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    samples = [
        (torch.rot90((image / 255 - mean) / std, quarter, (1, 2)), quarter)
        for image in images
        for quarter in range(len(ANGLES))
    ]
    model = classifier()
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    loss_fn = nn.CrossEntropyLoss()
    began = time.perf_counter()
    for inputs, targets in DataLoader(samples, batch_size=batch, shuffle=True):
        optimizer.zero_grad()
        loss = loss_fn(model(inputs), targets)
        loss.backward()
        optimizer.step()
        loss.item()  # for its progress bar
    return len(samples) / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--images", type=int, default=4084, help="number of images, before rotation"
    )
    parser.add_argument("--batch", type=int, default=1021, help="images per batch, before rotation")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    compute = resolve_compute("cpu", "auto")
    images = random_images(args.images)
    pretext = Pretext(Images(images), args.batch, compute)
    batch = len(ANGLES) * args.batch
    with pretext.open:
        rates = in_turns(
            {
                "whole loop": pretext.images_per_second,
                "synthetic batch": lambda: synthetic(compute, batch, len(pretext.train)),
                "the article's way": lambda: article(images[: args.images // 2], batch),
            },
            args.repeats,
        )
    goals = {
        ("whole loop", "synthetic batch"): "at least 0.97",
        ("whole loop", "the article's way"): "at least 1.8",
    }
    about = {"precision": compute.precision, "batch": batch, "threads": torch.get_num_threads()}
    conclude(__file__, rates, unit="images/s", goals=goals, **about)


if __name__ == "__main__":
    main()
