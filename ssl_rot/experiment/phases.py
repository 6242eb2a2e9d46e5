"""The two phases, built from the config: network, batches, loss, schedule.

Every process of torchrun builds them; only the first one records them.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from torch import Tensor, nn

from ssl_rot.building import build
from ssl_rot.data import Batches, Images, Task
from ssl_rot.experiment.context import TrainingContext
from ssl_rot.freeze import FreezeNothing, FreezePolicy
from ssl_rot.models import Backbone, Classifier, build_backbone, build_head
from ssl_rot.pretext import Pretext
from ssl_rot.schedules import Schedule
from ssl_rot.seeding import seeded
from ssl_rot.training.phase import Phase


def pretext_phase(context: TrainingContext, weights: Path | None) -> Phase:
    """The backbone, starting from ``weights``, under the head of the pretext task."""
    pretext = context.pretext
    assert isinstance(pretext, Pretext)
    backbone = _backbone(context, weights)
    with seeded(context.seed, "pretext", "head"):
        model = Classifier(backbone, pretext.head(backbone))
    train = (context.data.pretext_images, None)
    return _phase(
        context,
        "pretext",
        model,
        train,
        pretext.loss,
        pretext.schedule,
        FreezeNothing(),
        task=pretext.batch,
    )


def downstream_phase(context: TrainingContext, weights: Path | None) -> Phase:
    """The backbone, starting from ``weights``, or what ``model.cut`` keeps of it; a new head."""
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
    model = Classifier(backbone, head)
    train = (data.train.images, data.train.labels)
    loss, schedule, freeze = (build(config[key]) for key in ("loss", "schedule", "freeze"))
    return _phase(context, "downstream", model, train, loss, schedule, freeze)


PHASES = {"pretext": pretext_phase, "downstream": downstream_phase}


def _backbone(context: TrainingContext, weights: Path | None) -> Backbone:
    # model.weights was resolved to a file before, and only the first process reads that.
    return build_backbone(
        {**context.config["model"], "weights": None},
        in_channels=int(context.data.test.images.shape[1]),
        seed=context.seed,
        weights=weights,
    )


def _phase(
    context: TrainingContext,
    name: str,
    model: Classifier,
    train: tuple[Images, Tensor | None],
    loss_fn: nn.Module,
    schedule: Schedule,
    freeze: FreezePolicy,
    task: Task | None = None,
) -> Phase:
    """A phase whose targets are the labels; without labels for training, those of the task."""
    data, group = context.data, context.compute.group
    images, labels = train
    held_out = data.held_out_from_pretext if labels is None else data.held_out
    batches = partial(
        Batches,
        device=context.compute.device,
        mean=data.mean,
        std=data.std,
        task=task,
        seed=context.seed,
        stream=name,
        part=(group.rank, group.size),
    )
    size = schedule.batch_size
    # Evaluation keeps no activations for a backward pass, so that larger batches fit.
    evaluation = partial(batches, batch_size=max(size, 256), augment=None, shuffle=False)
    return Phase(
        name,
        model,
        train=batches(images, labels, batch_size=size, augment=data.augment, shuffle=True),
        evaluations={
            split_name: evaluation(split.images, None if labels is None else split.labels)
            for split_name, split in held_out.items()
        },
        loss_fn=loss_fn,
        schedule=schedule,
        freeze=freeze,
        seed=context.seed,
    )
