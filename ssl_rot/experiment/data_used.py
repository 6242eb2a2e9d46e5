"""What a run uses of its data, for MLflow: which images, how many, from where."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from ssl_rot.config.run_keys import BUDGET
from ssl_rot.experiment.context import TrainingContext
from ssl_rot.tracking import DatasetUse, describe_images, describe_source

_POOL = ("val_fraction", "train_size")  # what chooses the images that may be trained on


def list_data_used(context: TrainingContext, phase: str) -> list[DatasetUse]:
    """The images that a phase trains on and those that it is measured on.

    Nothing is read for it: a digest is made of the data's fingerprint and of what chose the images,
    so that the same images have the same digest in every run.
    """
    data = context.data
    if phase == "pretext":
        sizes = {"pretext": len(data.pretext_images)}
        held_out = data.held_out_from_pretext
    else:
        sizes, held_out = {"train": len(data.train)}, data.held_out
    sizes |= {name: len(split) for name, split in held_out.items()}
    node = context.config["dataset"]
    root = node.get("root") or node.get("path")
    if root is not None and Path(root).exists():  # else the name of a data set on a hub
        root = str(Path(root).absolute())
    source = describe_source(root, node["source"]["_target_"])
    shape = [int(size) for size in data.test.images.shape[1:]]
    used = []
    for name, count in sizes.items():
        chosen_by = _chosen_by(context, name)
        budget = {key: value for key, value in chosen_by.items() if key in BUDGET}
        profile = {"images": count, "classes": len(data.classes), **budget}
        digest = hashlib.sha256(f"{data.fingerprint} {name} {chosen_by}".encode()).hexdigest()
        images = describe_images(shape, profile)
        used.append(DatasetUse(data.name, name, digest[:8], *source, *images))
    return used


def _chosen_by(context: TrainingContext, split: str) -> dict[str, Any]:
    val = (*_POOL, "val_per_class") if context.data.val_in_budget else ("val_fraction",)
    keys = {"test": (), "pretext": _POOL, "val": val, "train": _POOL + BUDGET}[split]
    node = context.config["dataset"]
    chosen_by = {key: node[key] for key in keys if node.get(key)}
    return chosen_by | {"seed": context.seed} if chosen_by else {}
