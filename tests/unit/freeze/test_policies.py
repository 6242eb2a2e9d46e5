"""Which stages stand still, and that standing still is complete."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ssl_rot.freeze import (
    FreezeBackbone,
    FreezeNothing,
    FreezeThrough,
    GradualUnfreezing,
    set_train_mode,
    trainable_parameters,
)
from ssl_rot.models import Classifier, linear_head, resnet

STAGES = ("stem", "stage1", "stage2", "stage3")


@pytest.fixture
def model() -> Classifier:
    torch.manual_seed(0)
    net = resnet(
        1, widths=[2, 3, 4], blocks=[1, 2, 1], large_stem=False, bias=False, shortcut_norm=True
    )
    return Classifier(net, nn.Sequential(*linear_head(4, 3), nn.BatchNorm1d(3)))


@pytest.mark.parametrize(
    ("policy", "by_epoch"),
    [
        (FreezeNothing(), [0, 0, 0]),
        (FreezeBackbone(), [4, 4, 4]),
        (FreezeThrough("stem"), [1, 1, 1]),
        (FreezeThrough("stage2"), [3, 3, 3]),
        (FreezeThrough("stage3"), [4, 4, 4]),
        (GradualUnfreezing(1), [4, 3, 2, 1, 0, 0, 0]),
        (GradualUnfreezing(2), [4, 4, 3, 3, 2, 2, 1, 1, 0, 0]),
        (GradualUnfreezing(10), [4] * 10 + [3]),
    ],
    ids=str,
)
def test_policies_freeze_from_the_input_upwards(policy, by_epoch):
    for epoch, count in enumerate(by_epoch, start=1):
        assert policy.frozen(STAGES, epoch) == frozenset(STAGES[:count])


@pytest.mark.parametrize("count", range(5))
def test_frozen_stages_ask_for_no_gradient_and_are_not_in_the_list(model, count):
    frozen = frozenset(STAGES[:count])
    given = {id(parameter) for parameter in trainable_parameters(model, frozen)}
    for name, parameter in model.named_parameters():
        stands = name.startswith("backbone.") and name.split(".")[1] in frozen
        assert parameter.requires_grad == (id(parameter) in given) == (not stands), name


def test_what_was_frozen_is_released(model):
    trainable_parameters(model, frozenset(STAGES))
    every = [id(parameter) for parameter in model.parameters()]
    assert [id(p) for p in trainable_parameters(model, frozenset())] == every
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("count", range(5))
def test_frozen_batchnorm_runs_in_eval_mode_and_the_rest_trains(model, count):
    model.eval()
    set_train_mode(model, frozenset(STAGES[:count]))
    norms = [(n, m) for n, m in model.named_modules() if "BatchNorm" in type(m).__name__]
    assert len(norms) == 12
    for name, norm in norms:
        stands = name.startswith("backbone.") and name.split(".")[1] in STAGES[:count]
        assert norm.training == (not stands), name


def test_frozen_buffers_survive_a_forward_pass(model):
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    set_train_mode(model, frozenset(STAGES[:2]))
    model(torch.randn(8, 1, 8, 8))
    for name, buffer in model.named_buffers():
        stands = name.split(".")[1] in STAGES[:2]
        assert torch.equal(buffer, before[name]) == stands, name
