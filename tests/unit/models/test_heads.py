"""Heads map a feature map of any size to logits, each in its own way."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ssl_rot.models import build_head


@pytest.mark.parametrize("side", [1, 4, 8, 13])
@pytest.mark.parametrize("head", ["linear", "mlp", "conv"])
def test_any_map_becomes_logits_that_train(option, head, side):
    module = build_head(option("head", head), in_channels=6, num_classes=5, seed=0)
    logits = module(torch.randn(3, 6, side, side))
    assert logits.shape == (3, 5)
    nn.functional.cross_entropy(logits, torch.tensor([0, 2, 4])).backward()
    assert all(p.grad is not None for p in module.parameters())


def test_linear_is_linear_in_the_mean_of_the_map(option):
    module = build_head(option("head", "linear"), in_channels=6, num_classes=5, seed=0)
    features = torch.randn(3, 6, 4, 4)
    expected = features.mean((2, 3)) @ module[-1].weight.T + module[-1].bias
    torch.testing.assert_close(module(features), expected)


def test_mlp_on_rotnets_map_is_rotnets_probe(option):
    module = build_head(option("head", "mlp"), in_channels=192, num_classes=10, seed=0)
    linear = [m for m in module if isinstance(m, nn.Linear)]
    assert [(m.in_features, m.out_features) for m in linear] == [
        (192 * 8 * 8, 200),
        (200, 200),
        (200, 10),
    ]
    kinds = [type(m) for m in module[2:]]
    assert kinds == [nn.Linear, nn.BatchNorm1d, nn.ReLU] * 2 + [nn.Linear]
    features = torch.randn(2, 192, 8, 8)
    torch.testing.assert_close(module[:2](features), features.flatten(1))


def test_mlp_averages_a_larger_map_down(option):
    module = build_head(option("head", "mlp", pool=2), in_channels=3, num_classes=5, seed=0).eval()
    features = torch.randn(4, 3, 6, 6)
    means = features.reshape(4, 3, 2, 3, 2, 3).mean((3, 5))
    torch.testing.assert_close(module(features), module(means))


def test_conv_is_one_more_rotnet_block_then_pool_and_linear(option):
    module = build_head(option("head", "conv"), in_channels=96, num_classes=10, seed=0)
    convolutions = [m for m in module if isinstance(m, nn.Conv2d)]
    assert [(m.in_channels, m.out_channels, m.kernel_size[0], m.bias) for m in convolutions] == [
        (96, 192, 3, None),
        (192, 192, 1, None),
        (192, 192, 1, None),
    ]
    kinds = [type(m) for m in module]
    assert kinds[:9] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU] * 3
    assert kinds[9:] == [nn.AdaptiveAvgPool2d, nn.Flatten, nn.Linear]
