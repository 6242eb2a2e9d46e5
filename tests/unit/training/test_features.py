"""A frozen backbone runs once, and the head trains as if it ran every epoch."""

import time

import pytest
import torch
from torch import nn

from ssl_rot.data import Augment, Batches
from ssl_rot.freeze import FreezeBackbone, GradualUnfreezing
from ssl_rot.models import Classifier, build_backbone, linear_head
from ssl_rot.schedules import EarlyStop, Schedule
from ssl_rot.training import loop
from ssl_rot.training.compute import Compute
from ssl_rot.training.features import precompute
from ssl_rot.training.phase import Phase

MODEL = {
    "_target_": "ssl_rot.models.resnet",
    "widths": [8, 16],
    "blocks": [1, 1],
    "large_stem": False,
    "bias": False,
    "shortcut_norm": True,
}


def batches(*, train: bool, augment: Augment | None = None, count: int = 33) -> Batches:
    draws = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (count, 1, 8, 8), dtype=torch.uint8, generator=draws)
    return Batches(
        images,
        torch.arange(count) % 3,
        batch_size=8,
        device="cpu",
        mean=[0.5],
        std=[0.3],
        augment=augment,
        seed=0,
        stream="test",
        shuffle=train,
    )


def fitted(policy, *, augment=None, precision="fp32", log=lambda epoch, record: None):
    """Trains three epochs. Returns the history without times, the weights, and how many forward
    passes the backbone made."""
    backbone = build_backbone(MODEL, in_channels=1, seed=0)
    torch.manual_seed(0)
    model = Classifier(backbone, linear_head(backbone.out_channels, 3))
    runs = []
    backbone.register_forward_hook(lambda *_: runs.append(1))
    schedule = Schedule(3, 8, 0.1, lambda p: torch.optim.SGD(p, 0.1, momentum=0.9), EarlyStop())
    history = loop.fit(
        Phase(
            name="downstream",
            model=model,
            train=batches(train=True, augment=augment),
            evaluations={"test": batches(train=False, count=20)},
            loss_fn=nn.CrossEntropyLoss(),
            schedule=schedule,
            freeze=policy,
            seed=0,
        ),
        Compute(torch.device("cpu"), precision),
        log=log,
    )
    kept = ("train_loss", "train_acc", "test_loss", "test_acc", "images_processed")
    return [[r[k] for k in kept] for r in history], model.state_dict(), len(runs)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_head_trains_the_same_on_precomputed_features(monkeypatch, precision):
    history, weights, runs = fitted(FreezeBackbone(), precision=precision)
    monkeypatch.setattr(loop, "precompute", lambda *_: None)
    slow_history, slow_weights, slow_runs = fitted(FreezeBackbone(), precision=precision)
    assert history == slow_history
    assert all(torch.equal(weights[key], slow_weights[key]) for key in weights)
    assert runs == 4 + 3  # one pass over each split
    assert slow_runs == 3 * (4 + 3)


@pytest.mark.parametrize(
    ("policy", "augment"),
    [
        (GradualUnfreezing(every=1), None),
        (FreezeBackbone(), Augment(1, False)),
        (FreezeBackbone(), Augment(0, True)),
    ],
)
def test_features_that_change_from_epoch_to_epoch_are_not_precomputed(policy, augment):
    assert fitted(policy, augment=augment)[2] == 3 * (4 + 3)


def test_features_beyond_the_memory_limit_are_computed_every_epoch(monkeypatch):
    monkeypatch.setattr("ssl_rot.training.features.MEMORY_LIMIT", 1000)
    assert fitted(FreezeBackbone())[2] == 3 * (4 + 3) + 1  # plus the batch that showed the size


def test_features_keep_the_order_and_the_labels_of_the_batches():
    backbone = build_backbone(MODEL, in_channels=1, seed=0)
    source = batches(train=True)
    features = precompute(source, backbone, Compute(torch.device("cpu"), "fp32"))
    assert features is not None
    for (maps, labels), (inputs, targets) in zip(features.epoch(2), source.epoch(2), strict=True):
        assert torch.equal(labels, targets)
        torch.testing.assert_close(maps, backbone(inputs))


def test_precomputing_counts_toward_the_first_epoch(monkeypatch):
    def slow(*args):
        time.sleep(0.3)
        return precompute(*args)

    monkeypatch.setattr(loop, "precompute", slow)
    seconds = []
    fitted(FreezeBackbone(), log=lambda epoch, record: seconds.append(record["epoch_seconds"]))
    assert seconds[0] > 0.6  # two splits
    assert max(seconds[1:]) < 0.6
