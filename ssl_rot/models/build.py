"""Builds backbones and heads from their config, with random weights that the seed decides."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from ssl_rot.building import build
from ssl_rot.errors import ConfigError
from ssl_rot.models.backbone import Backbone
from ssl_rot.models.weights import load_backbone_weights
from ssl_rot.seeding import seeded


def build_backbone(
    cfg: Mapping[str, Any], *, in_channels: int, seed: int, weights: Path | None = None
) -> Backbone:
    """Builds the whole backbone: the caller cuts it, since the pretext task trains all of it.

    Args:
        cfg: a ``conf/model`` option.
        seed: alone decides the random weights; torch's global generator is left as it is.
        weights: safetensors file to start from, instead of ``cfg["weights"]``, which may also be
            the id of a run.

    Raises:
        ConfigError: ``_target_`` refuses its arguments, or does not build a :class:`Backbone`.
        WeightsError: the weights are missing, damaged, or do not fit.
    """
    init = cfg.get("init", "default")
    if init == "xavier" and cfg.get("pretrained"):
        raise ConfigError(
            ["model.init=xavier with model.pretrained=true: it would overwrite those weights"]
        )
    with seeded(seed, "backbone"):
        backbone = _build(cfg, in_channels=in_channels)
        if not isinstance(backbone, Backbone):
            fault = f"model._target_={cfg['_target_']}: makes a {type(backbone).__name__}"
            raise ConfigError([f"{fault}, which is not an ssl_rot.models.Backbone"])
        _initialize(backbone, init)
    start = weights if weights is not None else cfg.get("weights")
    if start is not None:
        load_backbone_weights(backbone, Path(start))
    return backbone


def build_head(
    cfg: Mapping[str, Any], *, in_channels: int, num_classes: int, seed: int
) -> nn.Module:
    """Builds the head of a ``conf/head`` option; ``seed`` alone decides its weights."""
    with seeded(seed, "head"):
        head: nn.Module = _build(cfg, in_channels=in_channels, num_classes=num_classes)
        _initialize(head, cfg.get("init", "default"))
    return head


def _build(cfg: Mapping[str, Any], **arguments: int) -> Any:
    own = ("init", "weights", "cut")  # read here, whatever the target
    return build({k: v for k, v in cfg.items() if k not in own}, **arguments)


def _initialize(module: nn.Module, init: str) -> None:
    if init == "xavier":
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
