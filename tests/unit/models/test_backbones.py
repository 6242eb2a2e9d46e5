"""Every shipped backbone: architecture, stages, cutting, and the ways a trainer will run it."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from ssl_rot.errors import ConfigError
from ssl_rot.models import Classifier, build_backbone, build_head, resnet

STAGES = {
    "resnet_tiny": ("stem", "stage1", "stage2", "stage3"),
    "resnet18": ("stem", "stage1", "stage2", "stage3", "stage4"),
    "resnet18_cifar": ("stem", "stage1", "stage2", "stage3", "stage4"),
    "nin": ("block1", "block2", "block3", "block4"),
    "timm": ("stage1", "stage2", "stage3", "stage4", "stage5"),
}


def size(module: nn.Module) -> tuple[int, int]:
    return sum(p.numel() for p in module.parameters()), len(list(module.parameters()))


@pytest.mark.parametrize(
    ("model", "in_channels", "parameters", "tensors"),
    [
        ("resnet18", 3, 11_184_650, 76),  # the article's
        ("resnet18_cifar", 3, 11_173_962, 62),  # the usual ResNet-18 for 32x32 images
        ("resnet_tiny", 1, 77_754, 29),
        ("nin", 3, 1_412_298, 38),
    ],
)
def test_size_with_a_linear_head_of_ten_classes(option, model, in_channels, parameters, tensors):
    backbone = build_backbone(option("model", model), in_channels=in_channels, seed=0)
    head = build_head(
        option("head", "linear"), in_channels=backbone.out_channels, num_classes=10, seed=0
    )
    assert size(Classifier(backbone, head)) == (parameters, tensors)


@pytest.mark.parametrize(
    ("model", "image", "shapes"),
    [
        ("resnet_tiny", 16, [(16, 16), (16, 16), (32, 8), (64, 4)]),
        ("resnet18", 32, [(64, 8), (64, 8), (128, 4), (256, 2), (512, 1)]),
        ("resnet18_cifar", 32, [(64, 32), (64, 32), (128, 16), (256, 8), (512, 4)]),
        ("nin", 32, [(96, 16), (192, 8), (192, 8), (192, 8)]),
        ("timm", 64, [(64, 32), (64, 16), (128, 8), (256, 4), (512, 2)]),
    ],
)
def test_every_stage_is_a_place_to_cut(option, model, image, shapes):
    backbone = build_backbone(option("model", model), in_channels=3, seed=0)
    assert backbone.stage_names == STAGES[model]
    images = torch.randn(2, 3, image, image)
    for stage, (channels, side) in zip(backbone.stage_names, shapes, strict=True):
        part = backbone.cut(stage)
        assert part(images).shape == (2, channels, side, side)
        assert part.out_channels == channels
        assert part.stage_names == backbone.stage_names[: len(part.stage_names)]
        assert part.stage_names[-1] == stage


@pytest.mark.parametrize("model", STAGES)
def test_every_name_has_a_stage_and_a_cut_keeps_exactly_its_stages(option, model):
    backbone = build_backbone(option("model", model), in_channels=3, seed=0)
    order = backbone.stage_names.index
    tensors = dict(backbone.named_parameters()) | dict(backbone.named_buffers())
    assert {backbone.stage_of(name) for name in tensors} == set(backbone.stage_names)
    for name, module in backbone.named_modules():
        inside = [f"{name}.{key}" for key, _ in module.named_parameters()] if name else [*tensors]
        reached = [order(backbone.stage_of(key)) for key in inside]
        if reached:
            assert order(backbone.stage_of(name)) == max(reached)
        else:
            assert backbone.stage_of(name) in backbone.stage_names
    for stage in backbone.stage_names:
        part = backbone.cut(stage)
        kept = dict(part.named_parameters()) | dict(part.named_buffers())
        assert kept.keys() == {k for k in tensors if order(backbone.stage_of(k)) <= order(stage)}
        assert all(kept[name] is tensors[name] for name in kept)
    with pytest.raises(KeyError, match="elsewhere"):
        backbone.stage_of("elsewhere.weight")


@pytest.mark.parametrize("model", ["resnet_tiny", "resnet18", "resnet18_cifar", "nin"])
def test_the_last_stage_on_a_cuts_features_gives_the_whole_networks(option, model):
    backbone = build_backbone(option("model", model), in_channels=3, seed=0).eval()
    *_, before, last = backbone.stage_names
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        features = backbone.cut(before).eval()(images)
        assert torch.equal(backbone.get_submodule(last)(features), backbone(images))


@pytest.mark.parametrize("model", STAGES)
def test_unknown_stage_names_the_stages(option, model):
    backbone = build_backbone(option("model", model), in_channels=3, seed=0)
    with pytest.raises(ConfigError, match=rf"'stage9'.*{', '.join(STAGES[model])}"):
        backbone.cut("stage9")


def test_resnet_computes_what_torchvisions_does():
    ours = resnet(
        3, widths=(64, 128, 256, 512), blocks=(2, 2, 2, 2),
        large_stem=True, bias=False, shortcut_norm=True,
    )  # fmt: skip
    theirs = torchvision.models.resnet18()
    theirs.avgpool = nn.Identity()
    theirs.fc = nn.Identity()
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(images).flatten(1), theirs(images))


def test_the_articles_resnet18_has_biases_and_bare_shortcuts(option):
    backbone = build_backbone(option("model", "resnet18"), in_channels=3, seed=0)
    convolutions = {n: m for n, m in backbone.named_modules() if isinstance(m, nn.Conv2d)}
    assert all(conv.bias is not None for conv in convolutions.values())
    shortcuts = {n: conv for n, conv in convolutions.items() if "shortcut" in n}
    assert {n: (c.kernel_size, c.stride) for n, c in shortcuts.items()} == {
        f"stage{k}.0.shortcut.0": ((1, 1), (2, 2)) for k in (2, 3, 4)
    }
    norms = [n for n, m in backbone.named_modules() if isinstance(m, nn.BatchNorm2d)]
    assert not any("shortcut" in n for n in norms)


@pytest.mark.parametrize("blocks", [3, 4, 5])
def test_nin_is_rotnets(option, blocks):
    backbone = build_backbone(option("model", "nin", num_blocks=blocks), in_channels=3, seed=0)
    layers = [
        (m.in_channels, m.out_channels, m.kernel_size[0], m.bias)
        for m in backbone.modules()
        if isinstance(m, nn.Conv2d)
    ]
    middle = [(192, 192, 1, None), (192, 192, 1, None)]
    assert layers == [
        (3, 192, 5, None), (192, 160, 1, None), (160, 96, 1, None),
        (96, 192, 5, None), *middle,
        *((192, 192, 3, None), *middle) * (blocks - 2),
    ]  # fmt: skip
    pools = [m for m in backbone.modules() if isinstance(m, nn.MaxPool2d | nn.AvgPool2d)]
    assert [(type(m), m.kernel_size, m.stride, m.padding) for m in pools] == [
        (nn.MaxPool2d, 3, 2, 1),
        (nn.AvgPool2d, 3, 2, 1),
    ]
    kinds = [type(m) for m in backbone.block3]
    assert kinds == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU] * 3
    first = backbone.block1[0].weight  # the authors' init: variance 2 / (k k out_channels)
    assert first.std().item() == pytest.approx((2 / (25 * 192)) ** 0.5, rel=0.05)


def test_nin_of_a_quarter_of_the_width(option):
    backbone = build_backbone(option("model", "nin", width=0.25), in_channels=3, seed=0)
    layers = [m for m in backbone.modules() if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in layers] == [48, 40, 24] + [48] * 9
    images = torch.randn(2, 3, 32, 32)
    assert backbone(images).shape == (2, 48, 8, 8)


@pytest.mark.parametrize("model", STAGES)
def test_runs_compiled_in_bf16_and_channels_last_as_plainly(option, model):
    backbone = build_backbone(option("model", model), in_channels=3, seed=0).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        plain = backbone(images)
        whole_graph = torch.compile(backbone, backend="eager", fullgraph=True)
        torch.testing.assert_close(whole_graph(images), plain)
        backbone.to(memory_format=torch.channels_last)
        last = backbone(images.to(memory_format=torch.channels_last))
        assert last.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(last, plain, rtol=1e-3, atol=1e-4)
        with torch.autocast("cpu", torch.bfloat16):
            half = backbone(images)
    assert half.dtype == torch.bfloat16
    assert (half.float() - plain).norm() < 0.05 * plain.norm()


@pytest.mark.parametrize("model", STAGES)
def test_every_parameter_is_trained(option, model):
    backbone = build_backbone(option("model", model), in_channels=3, seed=0)
    backbone(torch.randn(2, 3, 64, 64)).square().sum().backward()
    assert [name for name, p in backbone.named_parameters() if p.grad is None] == []
