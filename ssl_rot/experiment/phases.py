"""The two phases, built from the config: network, batches, loss, schedule.

Every process of torchrun builds them; only the first one records them.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from ssl_rot.building import build
from ssl_rot.data import Batches, Images
from ssl_rot.experiment.context import TrainingContext
from ssl_rot.freeze import FreezeNothing
from ssl_rot.models import Backbone, Classifier, build_backbone, build_head, linear_head
from ssl_rot.schedules import Schedule
from ssl_rot.seeding import seeded
from ssl_rot.training.phase import Phase


def pretext_phase(context: TrainingContext, weights: Path | None) -> Phase:
    """The backbone under a head that predicts the rotation.

    Args:
        context: of the run.
        weights: of the backbone to start from.
    """
    data, pretext = context.data, context.pretext
    backbone = _backbone(context, weights)
    with seeded(context.seed, "pretext", "head"):
        model = Classifier(backbone, linear_head(backbone.out_channels, len(pretext.angles)))
    batches = partial(_batches, context, "pretext", pretext.schedule, rotate=pretext.rotate)
    return Phase(
        name="pretext",
        model=model,
        train=batches(data.pretext_images, None, train=True),
        evaluations={name: batches(split.images, None) for name, split in data.held_out.items()},
        loss_fn=pretext.loss,
        schedule=pretext.schedule,
        freeze=FreezeNothing(),
        seed=context.seed,
    )


def downstream_phase(context: TrainingContext, weights: Path | None) -> Phase:
    """The backbone, or the part of it that ``model.cut`` keeps, under a new head.

    Args:
        context: of the run.
        weights: of the backbone to start from.
    """
    config, data = context.config, context.data
    backbone = _backbone(context, weights)
    if config["model"].get("cut") is not None:
        backbone = backbone.cut(config["model"]["cut"])
    head = build_head(
        config["head"],
        in_channels=backbone.out_channels,
        num_classes=len(data.classes),
        seed=context.seed,
    )
    schedule: Schedule = build(config["schedule"])
    batches = partial(_batches, context, "downstream", schedule)
    return Phase(
        name="downstream",
        model=Classifier(backbone, head),
        train=batches(data.train.images, data.train.labels, train=True),
        evaluations={
            name: batches(split.images, split.labels) for name, split in data.held_out.items()
        },
        loss_fn=build(config["loss"]),
        schedule=schedule,
        freeze=build(config["freeze"]),
        seed=context.seed,
    )


PHASES = {"pretext": pretext_phase, "downstream": downstream_phase}


def _backbone(context: TrainingContext, weights: Path | None) -> Backbone:
    # model.weights was resolved to a file before, and only the first process reads that.
    return build_backbone(
        {**context.config["model"], "weights": None},
        in_channels=int(context.data.test.images.shape[1]),
        seed=context.seed,
        weights=weights,
    )


def _batches(
    context: TrainingContext,
    stream: str,
    schedule: Schedule,
    images: Images,
    labels: Tensor | None,
    *,
    train: bool = False,
    rotate: Any = None,
) -> Batches:
    group = context.compute.group
    return Batches(
        images,
        labels,
        # Evaluation keeps no activations for a backward pass, so that larger batches fit.
        batch_size=schedule.batch_size if train else max(schedule.batch_size, 256),
        device=context.compute.device,
        mean=context.data.mean,
        std=context.data.std,
        augment=context.data.augment if train else None,
        rotate=rotate,
        seed=context.seed,
        stream=stream,
        shuffle=train,
        part=(group.rank, group.size),
    )
