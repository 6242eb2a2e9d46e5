"""Building from a config: seeds, inits, refused values."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ssl_rot.errors import ConfigError
from ssl_rot.models import build_backbone, build_head

MODELS = ["resnet_tiny", "nin", "timm"]
HEADS = ["linear", "mlp", "conv"]


def same(left: nn.Module, right: nn.Module) -> bool:
    pairs = zip(left.state_dict().values(), right.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("init", ["default", "xavier"])
@pytest.mark.parametrize("model", MODELS)
def test_backbone_depends_on_the_seed_alone(option, model, init):
    cfg = option("model", model, init=init)
    torch.manual_seed(1)
    first = build_backbone(cfg, in_channels=3, seed=0)
    torch.manual_seed(2)
    assert same(first, build_backbone(cfg, in_channels=3, seed=0))
    assert not same(first, build_backbone(cfg, in_channels=3, seed=1))


@pytest.mark.parametrize("init", ["default", "xavier"])
@pytest.mark.parametrize("head", HEADS)
def test_head_depends_on_the_seed_alone(option, head, init):
    def build(seed: int) -> nn.Module:
        return build_head(option("head", head, init=init), in_channels=8, num_classes=3, seed=seed)

    torch.manual_seed(1)
    first = build(0)
    torch.manual_seed(2)
    assert same(first, build(0))
    assert not same(first, build(1))


def test_building_leaves_the_global_stream_alone(option):
    before = torch.get_rng_state()
    build_backbone(option("model", "resnet_tiny", init="xavier"), in_channels=1, seed=0)
    build_head(option("head", "mlp"), in_channels=8, num_classes=3, seed=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_cut_does_not_change_the_weights(option):
    whole = build_backbone(option("model", "resnet_tiny"), in_channels=1, seed=0)
    with_cut = build_backbone(option("model", "resnet_tiny", cut="stage1"), in_channels=1, seed=0)
    assert with_cut.stage_names == whole.stage_names
    assert same(with_cut, whole)


def test_building_leaves_the_config_alone(option):
    cfg = option("model", "resnet_tiny", cut="stage1")
    build_backbone(cfg, in_channels=1, seed=0)
    assert cfg == option("model", "resnet_tiny", cut="stage1")


def test_xavier_sets_convolution_and_linear_weights_and_nothing_else(option):
    plain = build_backbone(option("model", "resnet18"), in_channels=3, seed=0)
    xavier = build_backbone(option("model", "resnet18", init="xavier"), in_channels=3, seed=0)
    for name, tensor in xavier.state_dict().items():
        if tensor.ndim < 4:
            assert torch.equal(tensor, plain.state_dict()[name])
            continue
        out_channels, in_channels, height, width = tensor.shape
        bound = (6 / ((in_channels + out_channels) * height * width)) ** 0.5
        assert 0.95 * bound < tensor.abs().max() <= bound
        assert tensor.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)


def test_xavier_head(option):
    cfg = option("head", "linear", init="xavier")
    weight = build_head(cfg, in_channels=500, num_classes=10, seed=0)[-1].weight
    bound = (6 / 510) ** 0.5
    assert 0.95 * bound < weight.abs().max() <= bound


@pytest.mark.parametrize(
    ("model", "replaced", "message"),
    [
        ("resnet_tiny", {"blocks": [1, 1]}, r"model\.widths=\[16, 32, 64\].*one positive number"),
        ("resnet_tiny", {"widths": [], "blocks": []}, r"model\.widths=\[\]"),
        ("timm", {"init": "xavier", "pretrained": True}, r"model\.init=xavier.*overwrite"),
    ],
)
def test_refused_model_values(option, model, replaced, message):
    with pytest.raises(ConfigError, match=message):
        build_backbone(option("model", model, **replaced), in_channels=3, seed=0)


def test_a_target_that_makes_no_backbone_is_refused():
    cfg = {"_target_": "torch.nn.Conv2d", "out_channels": 8, "kernel_size": 3}
    with pytest.raises(ConfigError, match=r"torch\.nn\.Conv2d: makes a Conv2d.*models\.Backbone"):
        build_backbone(cfg, in_channels=3, seed=0)
