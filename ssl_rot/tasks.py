"""What each phase trains: a network, its batches and its loss, from the config alone.

Apart from :mod:`ssl_rot.stages`, since of several processes only one records, and all train.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ssl_rot.data import Batches, Images
from ssl_rot.freeze import Nothing, Policy
from ssl_rot.job import Setting, build
from ssl_rot.models import Backbone, Classifier, build_backbone, build_head, linear_head
from ssl_rot.schedules import Schedule
from ssl_rot.seeding import seeded
from ssl_rot.train import Record, fit


@dataclass(frozen=True)
class Task:
    """A phase that is ready to be trained."""

    phase: str
    model: Classifier
    train: Batches
    evaluations: Mapping[str, Batches]
    loss_fn: nn.Module
    schedule: Schedule
    policy: Policy

    def fit(
        self, setting: Setting, log: Callable[[int, Record], None], **options: Any
    ) -> list[Record]:
        """Trains; the rest as in :func:`ssl_rot.train.fit`."""
        return fit(
            self.model,
            self.train,
            self.evaluations,
            loss_fn=self.loss_fn,
            schedule=self.schedule,
            policy=self.policy,
            compute=setting.compute,
            seed=setting.seed,
            phase=self.phase,
            log=log,
            **options,
        )


def pretext_task(setting: Setting, weights: Path | None) -> Task:
    """The backbone under a head that tells the turns apart.

    Args:
        setting: of the run.
        weights: of the backbone to start from.
    """
    data, pretext = setting.data, setting.pretext
    backbone = _backbone(setting, weights)
    with seeded(setting.seed, "pretext", "head"):
        model = Classifier(backbone, linear_head(backbone.out_channels, len(pretext.angles)))
    batches = partial(_batches, setting, "pretext", pretext.schedule, turn=pretext.turn)
    return Task(
        phase="pretext",
        model=model,
        train=batches(data.pretext_images, None, train=True),
        evaluations={name: batches(split.images, None) for name, split in data.held_out.items()},
        loss_fn=pretext.loss,
        schedule=pretext.schedule,
        policy=Nothing(),
    )


def downstream_task(setting: Setting, weights: Path | None) -> Task:
    """The backbone, or the part of it that is kept, under a new head.

    Args:
        setting: of the run.
        weights: of the backbone to start from.
    """
    config, data = setting.config, setting.data
    backbone = _backbone(setting, weights)
    if config["model"].get("cut") is not None:
        backbone = backbone.cut(config["model"]["cut"])
    head = build_head(
        config["head"],
        in_channels=backbone.out_channels,
        num_classes=len(data.classes),
        seed=setting.seed,
    )
    schedule: Schedule = build(config["schedule"])
    batches = partial(_batches, setting, "downstream", schedule)
    return Task(
        phase="downstream",
        model=Classifier(backbone, head),
        train=batches(data.train.images, data.train.labels, train=True),
        evaluations={
            name: batches(split.images, split.labels) for name, split in data.held_out.items()
        },
        loss_fn=build(config["loss"]),
        schedule=schedule,
        policy=build(config["freeze"]),
    )


TASKS = {"pretext": pretext_task, "downstream": downstream_task}


def _backbone(setting: Setting, weights: Path | None) -> Backbone:
    # What model.weights names was looked up by now, and only the first process needs it.
    return build_backbone(
        {**setting.config["model"], "weights": None},
        in_channels=int(setting.data.test.images.shape[1]),
        seed=setting.seed,
        weights=weights,
    )


def _batches(
    setting: Setting,
    stream: str,
    schedule: Schedule,
    images: Images,
    labels: Tensor | None,
    *,
    train: bool = False,
    turn: Any = None,
) -> Batches:
    group = setting.compute.group
    return Batches(
        images,
        labels,
        # Evaluation keeps no activations for a backward pass, so that larger batches fit.
        batch_size=schedule.batch_size if train else max(schedule.batch_size, 256),
        device=setting.compute.device,
        mean=setting.data.mean,
        std=setting.data.std,
        augment=setting.data.augment if train else None,
        turn=turn,
        seed=setting.seed,
        stream=stream,
        shuffle=train,
        part=(group.rank, group.size),
    )
