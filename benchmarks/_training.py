"""Networks, batches and loops that several benchmarks share."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import torch
from _common import ROOT
from omegaconf import OmegaConf
from torch import nn

from ssl_rot.data import Augment, Batches, Images
from ssl_rot.freeze import FreezeNothing
from ssl_rot.models import Classifier, build_backbone, linear_head
from ssl_rot.pretext import Rotate
from ssl_rot.schedules import EarlyStop, Schedule
from ssl_rot.tracking import Tracker
from ssl_rot.training.compute import Compute
from ssl_rot.training.loop import fit
from ssl_rot.training.phase import Phase

ANGLES = (0, 90, 180, 270)
MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)
SIZE = 32


def random_images(count: int) -> torch.Tensor:
    """uint8 ``[count, 3, 32, 32]``; content does not affect speed."""
    draws = torch.Generator().manual_seed(0)
    shape = (count, 3, SIZE, SIZE)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=draws)


def classifier(outputs: int = 4, model: str = "resnet18") -> Classifier:
    """An option of ``conf/model`` under a linear head."""
    config = OmegaConf.load(ROOT / "conf" / "model" / f"{model}.yaml")
    backbone = build_backbone(dict(config), in_channels=3, seed=0)
    return Classifier(backbone, linear_head(backbone.out_channels, outputs))


def schedule(epochs: int, batch_size: int) -> Schedule:
    optimizer = partial(torch.optim.SGD, lr=0.01, momentum=0.9)
    return Schedule(epochs, batch_size, 0.01, optimizer, EarlyStop())


def batches(
    images: Images, labels: torch.Tensor | None, batch_size: int, compute: Compute, *, train: bool
) -> Batches:
    """Batches as in a run on CIFAR-10; rotated if there are no labels."""
    return Batches(
        images,
        labels,
        batch_size=batch_size,
        device=compute.device,
        mean=MEAN,
        std=STD,
        augment=Augment(4, True) if train and labels is None else None,
        task=(lambda images, _: Rotate(ANGLES)(images)) if labels is None else None,
        seed=0,
        stream="benchmark",
        shuffle=train,
    )


class Pretext:
    """The pretext phase of a run: epochs of rotated images, logged to MLflow."""

    def __init__(
        self, images: Images, batch_size: int, compute: Compute, model: str = "resnet18"
    ) -> None:
        self.compute, self.batch_size, self.model = compute, batch_size, model
        self.train = batches(images, None, batch_size, compute, train=True)
        self.samples = len(ANGLES) * len(images)
        self.open = ExitStack()
        folder = Path(self.open.enter_context(tempfile.TemporaryDirectory()))
        tracker = Tracker("benchmark", f"sqlite:///{folder}/mlflow.db")
        self.run = self.open.enter_context(tracker.start("benchmark", folder / "run", {}, {}))
        self.epoch = 0
        self.ends: list[float] = []  # of the epochs, before they are logged

    def seconds(self, epochs: int = 1) -> float:
        """Time of the whole loop (batches, steps, metrics, logging), on a new network each time."""
        model = classifier(model=self.model)
        self.synchronize()
        began = time.perf_counter()
        phase = Phase(
            name="pretext",
            model=model,
            train=self.train,
            evaluations={},
            loss_fn=nn.CrossEntropyLoss(),
            schedule=schedule(epochs, self.batch_size),
            freeze=FreezeNothing(),
            seed=0,
        )
        fit(phase, self.compute, log=self._log)
        self.synchronize()
        return time.perf_counter() - began

    def images_per_second(self) -> float:
        return self.samples / self.seconds()

    def images_per_second_warm(self) -> float:
        """Of a second epoch, with the logging of the first: without compiling the network."""
        self.seconds(epochs=2)
        return self.samples / (self.ends[-1] - self.ends[-2])

    def _log(self, epoch: int, record: dict[str, float]) -> None:
        self.ends.append(time.perf_counter())
        self.epoch += 1  # counts over all repetitions, since MLflow takes an epoch only once
        self.run.epoch(self.epoch, record)

    def synchronize(self) -> None:
        if self.compute.device.type == "cuda":
            torch.cuda.synchronize()


def synthetic_images_per_second(
    compute: Compute, batch: int, steps: int, model: str = "resnet18", warm_up: int = 0
) -> float:
    """The upper bound: the same network trained on one batch that is already on the device.

    The first ``warm_up`` steps are not timed: they compile the network.
    """
    network = classifier(model=model)
    compute.place(network)
    network.train()
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9)
    loss_fn = nn.CrossEntropyLoss()
    inputs = torch.randn(batch, 3, SIZE, SIZE, device=compute.device)
    targets = torch.randint(len(ANGLES), (batch,), device=compute.device)
    for step in range(warm_up + steps):
        if step == warm_up:
            if compute.device.type == "cuda":
                torch.cuda.synchronize()
            began = time.perf_counter()
        loss = loss_fn(compute.logits(network, inputs), targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    loss.item()
    return batch * steps / (time.perf_counter() - began)
