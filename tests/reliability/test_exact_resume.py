"""A phase that goes on from a checkpoint gives the bits of one that never stopped.

Whole runs that are killed and resumed are in ``test_kill_anywhere.py``.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
import torch

from ssl_rot.config.validation import validate
from ssl_rot.experiment.context import load_training_context
from ssl_rot.experiment.phases import PHASES
from ssl_rot.training import checkpoint
from ssl_rot.training.loop import fit

CONF = Path(__file__).resolve().parents[2] / "conf"
EPOCHS = 3
TINY = (
    *("+experiment=rotation", "dataset.image_size=8", "dataset.train_size=48", "head=mlp"),
    *("dataset.labels_per_class=3", "dataset.val_fraction=0.1", "head.pool=2"),
    *("model.widths=[8,16]", "model.blocks=[1,1]"),
)
SHORT = (f"schedule.epochs={EPOCHS}", "schedule.batch_size=12")
FREEZE = {"through": ("freeze.stage=stem",), "gradual": ("freeze.every=1",)}
TIMES = ("epoch_seconds", "images_per_second")


def options(group):
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


AUGMENT = [(), ("dataset.augment.crop_padding=1", "dataset.augment.flip=true")]
REST = [*product(options("loss"), AUGMENT, ["fp32", "bf16"])]


def without_times(records):
    return [{k: v for k, v in record.items() if k not in TIMES} for record in records]


def same(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def trained(context, name, folder, state=None):
    """The records of a phase, and what it left in the last of its checkpoints, one an epoch."""
    phase, epochs = PHASES[name](context, None), []

    def save(epoch, snapshot):
        checkpoint.write(folder / f"{epoch}.ckpt", snapshot())
        epochs.append(epoch)

    records = fit(phase, context.compute, log=lambda *_: None, state=state, save=save)
    last = checkpoint.read(folder / f"{EPOCHS}.ckpt")
    assert same(phase.model.state_dict(), last["model"])
    return records, last, epochs


def check(config, phase, after, folder):
    """Trains to the end, and from the checkpoint of one epoch as another process would."""
    context = load_training_context(validate(config))
    records, last, epochs = trained(context, phase, folder / "whole")
    assert epochs == [1, 2, 3]
    state = checkpoint.read(folder / "whole" / f"{after}.ckpt")
    records_again, last_again, epochs = trained(context, phase, folder / "resumed", state)
    assert epochs == [1, 2, 3][after:]
    assert without_times(records_again) == without_times(records)
    for key in ("epoch", "model", "optimizer", "scheduler"):
        assert same(last_again[key], last[key]), key


@pytest.mark.parametrize("freeze", options("freeze"))
@pytest.mark.parametrize("schedule", options("schedule"))
def test_downstream(compose, tmp_path, schedule, freeze):
    for number, (loss, augment, precision) in enumerate(REST):
        at = [options("schedule").index(schedule), options("freeze").index(freeze)]
        at += [options("loss").index(loss), AUGMENT.index(augment), precision == "bf16"]
        if sum(at) % 2:  # half of them: any four options still meet in some run
            continue
        config = compose(
            *TINY, f"schedule={schedule}", f"freeze={freeze}", *FREEZE.get(freeze, ()), *SHORT,
            f"loss={loss}", f"precision={precision}", *augment,
        )  # fmt: skip
        check(config, "downstream", 1 + number % (EPOCHS - 1), tmp_path)


@pytest.mark.parametrize("option", [o for o in options("pretext") if o not in ("none", "weights")])
def test_every_pretext(compose, tmp_path, option):
    short = [f"pretext.{key}" for key in SHORT]
    augment = AUGMENT[1]
    config = compose(*TINY, f"pretext={option}", "precision=fp32", *short, *augment)
    check(config, "pretext", 2, tmp_path)


@pytest.mark.parametrize("schedule", options("schedule"))
def test_pretext(compose, tmp_path, schedule):
    for number, (loss, augment, precision) in enumerate(REST):
        config = compose(
            *TINY, f"schedule@pretext.schedule={schedule}",
            f"loss@pretext.loss={loss}", f"precision={precision}", *augment,
            *(f"pretext.{key}" for key in SHORT),
        )  # fmt: skip
        check(config, "pretext", 1 + number % (EPOCHS - 1), tmp_path)
