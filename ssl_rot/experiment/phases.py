"""The two phases, built from the config: network, batches, loss, schedule.

Every process of torchrun builds them; only the first one records them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ssl_rot.building import build
from ssl_rot.data import Batches, Images, Split
from ssl_rot.experiment.context import TrainingContext
from ssl_rot.freeze import FreezeNothing, FreezePolicy
from ssl_rot.models import Backbone, Classifier, build_backbone, build_head
from ssl_rot.pretext import Pretext
from ssl_rot.schedules import Schedule
from ssl_rot.seeding import generator, seeded
from ssl_rot.training.monitors import Monitors
from ssl_rot.training.phase import Phase

RANKED_IMAGES = 2048
"""Training images whose features' rank is measured."""


def pretext_phase(context: TrainingContext, weights: Path | None) -> Phase:
    """The backbone, starting from ``weights``, under the head of the pretext task."""
    pretext = context.pretext
    assert isinstance(pretext, Pretext)
    seed = context.pretext_seed
    backbone = _backbone(context, weights, seed)
    with seeded(seed, "pretext", "head"):
        model = Classifier(backbone, pretext.head(backbone))
    data = context.data
    images = {"train": data.pretext_images} | {
        name: split.images for name, split in data.held_out_from_pretext.items()
    }

    def targets(split: str) -> Tensor | None:
        draws = generator(seed, "pretext", "targets", split)
        return pretext.fixed_targets(len(images[split]), draws)

    return _phase(
        context,
        "pretext",
        model,
        {name: (images[name], targets(name)) for name in images},
        pretext.loss,
        pretext.schedule,
        FreezeNothing(),
        seed,
        pretext,
        _monitors(context),
    )


def downstream_phase(context: TrainingContext, weights: Path | None) -> Phase:
    """The backbone, starting from ``weights``, or what ``model.cut`` keeps of it; a new head."""
    config, data = context.config, context.data
    backbone = _backbone(context, weights, context.seed)
    if config["model"].get("cut") is not None:
        backbone = backbone.cut(config["model"]["cut"])
    head = build_head(
        config["head"],
        in_channels=backbone.out_channels,
        num_classes=len(data.classes),
        seed=context.seed,
    )
    model = Classifier(backbone, head)
    splits = {
        name: (split.images, split.labels)
        for name, split in {"train": data.train, **data.held_out}.items()
    }
    loss, schedule, freeze = (build(config[key]) for key in ("loss", "schedule", "freeze"))
    return _phase(
        context,
        "downstream",
        model,
        splits,
        loss,
        schedule,
        freeze,
        context.seed,
        samples=context.downstream_samples,
    )


PHASES = {"pretext": pretext_phase, "downstream": downstream_phase}


def _backbone(context: TrainingContext, weights: Path | None, seed: int) -> Backbone:
    # model.weights was resolved to a file before, and only the first process reads that.
    return build_backbone(
        {**context.config["model"], "weights": None},
        in_channels=int(context.data.test.images.shape[1]),
        seed=seed,
        weights=weights,
    )


def _phase(
    context: TrainingContext,
    name: str,
    model: Classifier,
    splits: Mapping[str, tuple[Images, Tensor | None]],
    loss_fn: nn.Module,
    schedule: Schedule,
    freeze: FreezePolicy,
    seed: int,
    pretext: Pretext | None = None,
    monitors: Monitors | None = None,
    samples: int | None = None,
) -> Phase:
    """A phase on ``splits``, ``train`` among them; ``pretext`` makes missing targets."""
    data, group = context.data, context.compute.group
    own_augmentation = pretext is not None and pretext.own_augmentation
    compares_batch = pretext is not None and pretext.compares_batch
    augment = data.augment if pretext is None else data.augment.before_labels()
    size = schedule.batch_size
    batches = {
        split: Batches(
            images,
            labels,
            # Evaluation keeps no activations for a backward pass, so that larger batches fit.
            batch_size=size if split == "train" or compares_batch else max(size, 256),
            device=context.compute.device,
            mean=data.mean,
            std=data.std,
            augment=augment if split == "train" and not own_augmentation else None,
            task=pretext.batch if pretext is not None and labels is None else None,
            task_on_pixels=own_augmentation,
            seed=seed,
            stream=name,
            shuffle=split == "train",
            samples=samples if split == "train" else None,
            part=(group.rank, group.size),
        )
        for split, (images, labels) in splits.items()
    }
    return Phase(
        name,
        model,
        train=batches.pop("train"),
        evaluations=batches,
        loss_fn=loss_fn,
        schedule=schedule,
        freeze=freeze,
        seed=seed,
        monitors=monitors,
    )


def _monitors(context: TrainingContext) -> Monitors | None:
    names, settings, data = context.config["monitor"], context.config["monitoring"], context.data
    if not names:
        return None
    images = data.pretext_images
    drawn = torch.randperm(
        len(images), generator=generator(context.pretext_seed, "monitor", "rank")
    )
    few = images.select(drawn[:RANKED_IMAGES].sort().values)
    sample = Split(few, torch.zeros(len(few), dtype=torch.int64))
    on = settings["split"]

    def batches(split: Split | None) -> Batches | None:
        if split is None:
            return None
        return Batches(
            split.images,
            split.labels,
            batch_size=256,
            device=context.compute.device,
            mean=data.mean,
            std=data.std,
            augment=None,
            seed=context.seed,
            stream="monitor",
            shuffle=False,
        )

    return Monitors(
        settings["every"],
        labeled=batches(data.train) if "knn" in names else None,
        held_out=batches(data.held_out[on]) if "knn" in names else None,
        sample=batches(sample) if "rank" in names else None,
        knn_name="knn_acc" if on == "val" else "knn_test_acc",
    )
