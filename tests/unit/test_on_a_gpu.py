"""What only a CUDA GPU can show: the CPU's numbers, and batches made without waiting for it."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from ssl_rot.data import Batches
from ssl_rot.freeze import FreezeNothing, FreezeThrough
from ssl_rot.models import Classifier, build_backbone, linear_head
from ssl_rot.pretext.rotation import Rotate
from ssl_rot.pretext.simclr import SimCLR
from ssl_rot.schedules import EarlyStop, Schedule
from ssl_rot.training.compute import resolve_compute
from ssl_rot.training.loop import fit
from ssl_rot.training.phase import Phase

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

SIMCLR = SimCLR(
    name="simclr",
    schedule=None,
    loss=None,
    temperature=0.5,
    projection=8,
    crop=0.2,
    flip=True,
    jitter=0.5,
    grayscale=0.2,
)
TASKS = {
    "none": {},
    "four rotations": {"task": lambda images, _: Rotate((0, 90, 180, 270))(images)},
    "eight rotations": {"task": lambda images, _: Rotate(range(0, 360, 45))(images)},
    "simclr": {"task": SIMCLR.batch, "task_on_pixels": True},
}


@pytest.fixture
def batches_on(make_batches):
    """Batches on a device, of images of two classes."""
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (96, 3, 16, 16), dtype=torch.uint8, generator=draws)
    labels = images.float().mean((1, 2, 3)).gt(127.5).long()

    def make(device: str, **changes) -> Batches:
        return make_batches(images, labels, device=device, batch_size=20, **changes)

    return make


@pytest.mark.parametrize("task", TASKS)
def test_a_gpu_gets_the_batches_of_the_cpu(batches_on, task):
    here, there = (batches_on(device, **TASKS[task]) for device in ("cpu", "cuda"))
    for (inputs, targets), (others, their_targets) in zip(
        here.epoch(1), there.epoch(1), strict=True
    ):
        assert others.is_cuda
        torch.testing.assert_close(inputs, others.cpu(), rtol=1e-3, atol=1e-3)
        assert torch.equal(targets, their_targets.cpu())


@pytest.mark.parametrize("task", TASKS)
def test_making_batches_never_waits_for_the_gpu(batches_on, task):
    batches = batches_on("cuda", **TASKS[task])
    list(batches.epoch(1))  # loads the kernels, which may wait
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in batches.epoch(2):
            pass
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.fixture
def train(batches_on):
    """``fit`` on a device, for three epochs; returns the history."""

    def run(device: str, *, freeze=None, **options):
        config = {"_target_": "ssl_rot.models.nin", "num_blocks": 3, "width": 0.1}
        backbone = build_backbone(config, in_channels=3, seed=0)
        torch.manual_seed(0)
        model = Classifier(backbone, linear_head(backbone.out_channels, 2))
        phase = Phase(
            name="downstream",
            model=model,
            train=batches_on(device),
            evaluations={"test": batches_on(device, augment=None, shuffle=False)},
            loss_fn=nn.CrossEntropyLoss(),
            schedule=Schedule(
                epochs=3,
                batch_size=20,
                lr=0.01,
                optimizer=partial(torch.optim.SGD, lr=0.01, momentum=0.9),
                early_stop=EarlyStop(),
            ),
            freeze=freeze or FreezeNothing(),
            seed=0,
        )
        compute = resolve_compute(device, options.pop("precision", "fp32"))
        return fit(phase, compute, **({"log": lambda epoch, metrics: None} | options))

    return run


@pytest.mark.parametrize("freeze", [FreezeNothing(), FreezeThrough("block2")])
def test_a_gpu_trains_to_the_results_of_the_cpu(train, freeze):
    here, there = (train(device, freeze=freeze) for device in ("cpu", "cuda"))
    for ours, theirs in zip(here, there, strict=True):
        for name in ("train_loss", "test_loss"):
            assert theirs[name] == pytest.approx(ours[name], rel=0.02)


def test_bfloat16_on_a_gpu_ends_near_float32(train):
    exact, rounded = (train("cuda", precision=name)[-1] for name in ("fp32", "bf16"))
    assert rounded["test_loss"] == pytest.approx(exact["test_loss"], rel=0.1)


def test_training_resumes_on_a_gpu(train):
    states = {}
    whole = train("cuda", save=lambda epoch, snapshot: states.update({epoch: copied(snapshot())}))
    resumed = train("cuda", state=states[1])
    # Two trainings on a GPU differ in the last bits, which grow: by 5e-5 on an H200.
    for ours, theirs in zip(whole, resumed, strict=True):
        assert theirs["train_loss"] == pytest.approx(ours["train_loss"], rel=5e-4)


def copied(state):
    """A snapshot on the CPU, as a checkpoint holds it."""
    if isinstance(state, torch.Tensor):
        return state.cpu().clone()
    if isinstance(state, dict):
        return {name: copied(value) for name, value in state.items()}
    return [copied(value) for value in state] if isinstance(state, list) else state
