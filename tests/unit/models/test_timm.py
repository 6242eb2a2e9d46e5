"""timm's families as backbones: the same stages for freezing, probing and cutting."""

from __future__ import annotations

import pytest
import timm
import torch

from ssl_rot.errors import ConfigError, WeightsError
from ssl_rot.models import timm_model

FAMILIES = [
    ("resnet10t", 32, 5),
    ("efficientnet_b0", 32, 5),
    ("mobilenetv3_small_050", 32, 5),
    ("regnetx_002", 32, 5),
    ("convnext_atto", 32, 4),
    ("vit_tiny_patch16_224", 32, 12),
    ("swin_tiny_patch4_window7_224", 56, 4),
    ("hiera_tiny_224", 32, 4),
]


@pytest.mark.parametrize(("name", "image_size", "count"), FAMILIES)
def test_stages_are_the_models_intermediate_maps(name, image_size, count):
    torch.manual_seed(0)
    backbone = timm_model(1, name=name, pretrained=False, image_size=image_size)
    images = torch.randn(2, 1, image_size, image_size)
    assert backbone.stage_names == tuple(f"stage{k}" for k in range(1, count + 1))

    names = [name for name, _ in (*backbone.named_parameters(), *backbone.named_buffers())]
    owners = {name: backbone.stage_of(name) for name in names}
    assert set(owners.values()) == set(backbone.stage_names)

    backbone(images).square().sum().backward()
    assert [name for name, p in backbone.named_parameters() if p.grad is None] == []

    part = backbone.cut("stage2")
    kept = dict(part.named_parameters()) | dict(part.named_buffers())
    assert kept.keys() == {k for k, stage in owners.items() if stage in ("stage1", "stage2")}
    mine = dict(backbone.named_parameters()) | dict(backbone.named_buffers())
    assert all(kept[name] is mine[name] for name in kept)

    backbone.eval()
    part.eval()
    with torch.no_grad():
        expected = backbone.model.forward_intermediates(images, intermediates_only=True)[1]
        features = part(images)
    assert torch.equal(features, expected)
    assert features.shape[1] == part.out_channels


def test_a_transformers_map_is_its_normed_patch_tokens():
    torch.manual_seed(0)
    backbone = timm_model(3, name="vit_tiny_patch16_224", pretrained=False, image_size=64).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        tokens = backbone.model.forward_features(images)[:, 1:]  # the first is the class token
        features = backbone(images)
    assert features.shape == (2, 192, 4, 4)
    torch.testing.assert_close(features, tokens.mT.reshape(2, 192, 4, 4))
    assert backbone.stage_of("model.norm.weight") == "stage12"
    assert backbone.stage_of("model.pos_embed") == "stage1"
    assert backbone.stage_of("model.blocks") == "stage12"


def test_a_norm_that_changes_the_channels_counts():
    with torch.device("meta"):
        backbone = timm_model(3, name="samvit_base_patch16", pretrained=False, image_size=32)
        assert backbone(torch.zeros(1, 3, 32, 32)).shape[1] == backbone.out_channels
        assert backbone.cut("stage1")(torch.zeros(1, 3, 32, 32)).shape[1] == 768


def test_a_model_with_a_fixed_size_names_it():
    backbone = timm_model(3, name="vit_tiny_patch16_224", pretrained=False, image_size=None)
    with pytest.raises(
        ConfigError, match=r"model\.image_size=224.*32x32 pixels; set model\.image_size=32"
    ):
        backbone(torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnt10t", r"model\.name=resnt10t: .* no such model; did you mean resnet10t"),
        ("resnet18.nope", r"model\.name=resnet18\.nope: .*did you mean resnet18"),
        ("qqzzqq", r"model\.name=qqzzqq: .*see timm\.list_models"),
    ],
)
def test_unknown_names(name, message):
    with pytest.raises(ConfigError, match=message):
        timm_model(3, name=name, pretrained=False, image_size=None)


@pytest.mark.parametrize("name", ["crossvit_tiny_240", "efficientvim_m1"])
def test_models_whose_stages_do_not_follow_one_another_are_refused(name):
    with pytest.raises(ConfigError, match=r"model\.name: the stages of timm's \w+ do not follow"):
        timm_model(3, name=name, pretrained=False, image_size=None)


def test_pretrained_weights_that_cannot_be_downloaded(monkeypatch, tmp_path):
    def offline(*_args, **_kwargs):
        raise FileNotFoundError("not in the cache, and outgoing traffic is disabled")

    monkeypatch.setattr("timm.models._hub.hf_hub_download", offline)
    with pytest.raises(WeightsError, match=r"outgoing traffic.*model\.weights=FILE\.safetensors"):
        timm_model(3, name="resnet10t", pretrained=True, image_size=None)


def test_pretrained_without_published_weights():
    unpublished = next(n for n in timm.list_models("vgg*") + timm.list_models("resnet*")
                       if not timm.is_model_pretrained(n))  # fmt: skip
    with pytest.raises(WeightsError, match=rf"no weights for model\.name={unpublished}"):
        timm_model(3, name=unpublished, pretrained=True, image_size=None)
