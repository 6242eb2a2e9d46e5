"""A phase that continues from a checkpoint does what an uninterrupted one does."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from torch import nn

from ssl_rot.data import Batches
from ssl_rot.freeze import FreezeNothing, GradualUnfreezing
from ssl_rot.models import Classifier, StagedBackbone
from ssl_rot.schedules import EarlyStop, Schedule
from ssl_rot.training.compute import Compute
from ssl_rot.training.loop import fit
from ssl_rot.training.phase import Phase

CPU = Compute(torch.device("cpu"), "fp32")


def make_phase(
    *, epochs=4, freeze=None, early_stop=None, optimizer=None, scheduler=None, interval="epoch"
) -> Phase:
    torch.manual_seed(0)
    stages = {name: nn.Sequential(nn.Conv2d(1 if name == "a" else 2, 2, 1)) for name in "abc"}
    model = Classifier(
        StagedBackbone(stages, [2, 2, 2]), nn.Sequential(nn.Flatten(), nn.Linear(32, 2))
    )
    images = torch.randint(
        0, 256, (16, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    batches = partial(
        Batches, images, torch.arange(16) % 2, batch_size=8, device="cpu", mean=[0.5], std=[0.5],
        augment=None, seed=0, stream="downstream",
    )  # fmt: skip
    return Phase(
        name="downstream",
        model=model,
        train=batches(shuffle=True),
        evaluations={"test": batches(shuffle=False)},
        loss_fn=nn.CrossEntropyLoss(),
        schedule=Schedule(
            epochs=epochs,
            batch_size=8,
            lr=0.1,
            optimizer=optimizer or partial(torch.optim.SGD, lr=0.1, momentum=0.9),
            early_stop=early_stop or EarlyStop(),
            scheduler=scheduler,
            interval=interval,
        ),
        freeze=freeze or FreezeNothing(),
        seed=0,
    )


def states_of(phase: Phase) -> dict[int, dict]:
    states = {}

    def save(epoch, snapshot):
        states[epoch] = copy.deepcopy(snapshot())

    fit(phase, CPU, log=lambda *_: None, save=save)
    return states


def test_a_phase_that_has_stopped_early_trains_no_further():
    stop = EarlyStop("test_loss", 100.0, allow_test=True)  # reached after the first epoch
    states = states_of(make_phase(early_stop=stop))
    assert list(states) == [1]
    logged = []
    resumed = make_phase(early_stop=stop)
    history = fit(resumed, CPU, log=lambda *args: logged.append(args), state=states[1])
    assert logged == []
    assert history == states[1]["history"]
    for name, value in resumed.model.state_dict().items():
        assert torch.equal(value, states[1]["model"][name])


@pytest.mark.parametrize(
    ("scheduler", "interval"),
    [
        (partial(torch.optim.lr_scheduler.MultiStepLR, milestones=[1, 3], gamma=0.5), "epoch"),
        (partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=0.1, epochs=4), "step"),
    ],
)
def test_a_resumed_run_continues_its_learning_rate(scheduler, interval):
    make = partial(make_phase, scheduler=scheduler, interval=interval)
    states = states_of(make())
    resumed = make()
    history = fit(resumed, CPU, log=lambda *_: None, state=states[2])
    assert len({metrics["lr"] for metrics in history}) > 2
    assert [m["lr"] for m in history] == [m["lr"] for m in states[4]["history"]]
    for name, value in resumed.model.state_dict().items():
        assert torch.equal(value, states[4]["model"][name]), name


@pytest.mark.parametrize("epoch", [2, 3, 4])
def test_parameters_are_unfrozen_in_the_same_order_after_a_resume(epoch):
    """The optimizer's state belongs to parameters by their order: two releases, not one."""
    made = []

    class Recorder(torch.optim.SGD):
        def __init__(self, parameters) -> None:
            super().__init__(parameters, lr=0.1, momentum=0.9)
            made.append(self)

    def names_in_order(phase: Phase) -> list[str]:
        names = {id(parameter): name for name, parameter in phase.model.named_parameters()}
        return [names[id(parameter)] for parameter in made[-1].param_groups[0]["params"]]

    make = partial(make_phase, epochs=5, freeze=GradualUnfreezing(1), optimizer=Recorder)
    whole = make()
    states = states_of(whole)
    expected = names_in_order(whole)
    assert expected[2] == "backbone.c.0.weight"  # after the head, from the head downwards
    resumed = make()
    fit(resumed, CPU, log=lambda *_: None, state=states[epoch])
    assert names_in_order(resumed) == expected
    for name, value in resumed.model.state_dict().items():
        assert torch.equal(value, states[5]["model"][name]), name
