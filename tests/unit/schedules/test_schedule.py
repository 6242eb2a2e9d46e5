"""Each schedule's learning rate against its formula, and when a phase ends early."""

from __future__ import annotations

import math

import pytest
import torch
from hydra.utils import instantiate

from ssl_rot.errors import ConfigError
from ssl_rot.schedules import EarlyStop, Schedule


def rates(schedule: Schedule, steps_per_epoch: int) -> list[float]:
    """The learning rate of every step, driven as the contract says."""
    optimizer, scheduler = schedule.build([torch.nn.Parameter(torch.zeros(1))], steps_per_epoch)
    seen = []
    for _ in range(schedule.epochs):
        for _ in range(steps_per_epoch):
            seen.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            if scheduler is not None and schedule.interval == "step":
                scheduler.step()
        if scheduler is not None and schedule.interval == "epoch":
            scheduler.step()
    return seen


@pytest.fixture
def shipped(compose):
    return lambda *overrides: instantiate(compose(*overrides).schedule)


def test_constant(shipped):
    assert (
        rates(shipped("schedule=constant", "schedule.lr=0.3", "schedule.epochs=3"), 2) == [0.3] * 6
    )


def test_step(shipped):
    schedule = shipped(
        "schedule=step", "schedule.lr=0.1", "schedule.epochs=6", "schedule.scheduler.gamma=0.2",
        "schedule.scheduler.milestones=[2,5]",
    )  # fmt: skip
    expected = [0.1] * 4 + [0.02] * 6 + [0.004] * 2
    assert rates(schedule, 2) == pytest.approx(expected)


@pytest.mark.parametrize("epochs", [1, 2, 7])
def test_cosine_falls_to_zero_after_the_last_epoch(shipped, epochs):
    schedule = shipped("schedule=cosine", "schedule.lr=0.4", f"schedule.epochs={epochs}")
    expected = [0.2 * (1 + math.cos(math.pi * epoch / epochs)) for epoch in range(epochs)]
    assert rates(schedule, 3) == pytest.approx([lr for lr in expected for _ in range(3)])


@pytest.mark.parametrize(("epochs", "steps"), [(10, 1), (4, 5), (1, 20)])
def test_onecycle_climbs_and_falls_at_every_step(shipped, epochs, steps):
    schedule = shipped("schedule=onecycle", "schedule.lr=0.1", f"schedule.epochs={epochs}")
    total = epochs * steps
    top, last = 0.3 * total - 1, total - 1

    def half_cosine(start, end, share):
        return end + (start - end) / 2 * (1 + math.cos(math.pi * share))

    expected = [
        half_cosine(0.1 / 25, 0.1, step / top)
        if step <= top
        else half_cosine(0.1, 0.1 / 25 / 1e4, (step - top) / (last - top))
        for step in range(total)
    ]
    assert rates(schedule, steps) == pytest.approx(expected)
    assert max(rates(schedule, steps)) == pytest.approx(0.1, rel=0.01)


@pytest.mark.parametrize("name", ["constant", "step", "cosine", "onecycle"])
@pytest.mark.parametrize(("epochs", "steps"), [(1, 1), (1, 2), (2, 1), (3, 1)])
def test_very_short_phases_are_no_special_case(shipped, name, epochs, steps):
    schedule = shipped(f"schedule={name}", "schedule.lr=0.1", f"schedule.epochs={epochs}")
    seen = rates(schedule, steps)
    assert len(seen) == epochs * steps
    assert all(0 < lr <= 0.1 for lr in seen)


def test_a_one_cycle_schedule_of_a_single_step_is_refused(shipped):
    schedule = shipped("schedule=onecycle", "schedule.epochs=2", "schedule.scheduler.pct_start=0.5")
    with pytest.raises(ConfigError, match=r"pct_start of a schedule of 2 steps"):
        rates(schedule, 1)


def test_the_optimizer_takes_its_keys_from_the_schedule(shipped):
    schedule = shipped("schedule.lr=0.1", "schedule.momentum=0.7", "schedule.weight_decay=0.003",
                       "schedule=constant", "+schedule.optimizer.nesterov=true")  # fmt: skip
    parameters = [torch.nn.Parameter(torch.zeros(2)) for _ in range(3)]
    optimizer, scheduler = schedule.build(parameters, 1)
    (group,) = optimizer.param_groups
    assert isinstance(optimizer, torch.optim.SGD)
    assert scheduler is None
    assert [id(p) for p in group["params"]] == [id(p) for p in parameters]
    keys = ("lr", "momentum", "weight_decay", "nesterov")
    assert [group[key] for key in keys] == [0.1, 0.7, 0.003, True]


def test_another_optimizer_is_an_override_away(shipped):
    schedule = shipped("schedule.optimizer._target_=torch.optim.AdamW",
                       "~schedule.optimizer.momentum", "schedule.lr=0.01")  # fmt: skip
    optimizer, _ = schedule.build([torch.nn.Parameter(torch.zeros(1))], 1)
    assert isinstance(optimizer, torch.optim.AdamW)


@pytest.mark.parametrize(
    ("metric", "threshold", "value", "reached"),
    [
        ("val_acc", 0.9, 0.9, True),
        ("val_acc", 0.9, 0.89, False),
        ("val_acc", 0.9, 0.95, True),
        ("val_loss", 0.5, 0.5, True),
        ("val_loss", 0.5, 0.6, False),
        ("val_loss", 0.5, 0.1, True),
        ("val_acc", 0.0, 0.0, True),  # a threshold of 0 is one
        (None, 0.5, 0.9, False),
        ("val_acc", None, 0.9, False),
    ],
)
def test_early_stop(metric, threshold, value, reached):
    stop = EarlyStop(metric=metric, threshold=threshold)
    assert stop.reached({"val_acc": value, "val_loss": value}) is reached
