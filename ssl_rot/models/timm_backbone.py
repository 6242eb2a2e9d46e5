"""Any classifier of timm (https://huggingface.co/docs/timm) as a backbone with stages."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ssl_rot.errors import ConfigError, WeightsError
from ssl_rot.models.backbone import Backbone
from ssl_rot.option_types import Count, Text

# timm is imported in timm_model only: it takes a second, and the other models do not need it.


class TimmBackbone(Backbone):
    """A timm model; each stage ends at a feature map of its ``forward_intermediates``.

    Stages are the levels of a convolutional network or the blocks of a transformer. A final norm
    belongs to the last stage; everything after it (pool, classifier) is dropped.

    Args:
        model: has ``forward_intermediates`` and ``prune_intermediate_layers``.
        channels: output channels of each stage.
        image_size: the only height and width that the model accepts, in pixels; None for any.

    Raises:
        ConfigError: the stages do not follow one another, as in models with branches.
    """

    def __init__(self, model: Any, channels: Sequence[int], *, image_size: int | None) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.out_channels = self.channels[-1]
        self.stage_names = tuple(f"stage{number}" for number in range(1, len(channels) + 1))
        self.image_size = image_size
        # Hiera's norm is part of its head; asked for another one, it fails.
        self.norm = not type(model).__module__.startswith("timm.models.hiera")
        self.model = model
        self._owners = self._find_owners()

    def forward(self, images: Tensor) -> Tensor:
        size = self.image_size
        if size is not None and images.shape[-2:] != (size, size):
            height, width = images.shape[-2:]
            fault = f"model.image_size={size}, but the images have {height}x{width} pixels"
            hint = f"set model.image_size={height} or dataset.image_size={size}"
            raise ConfigError([f"{fault}; {hint}"])
        features: list[Tensor] = self.model.forward_intermediates(
            images,
            indices=[len(self.channels) - 1],
            norm=self.norm,
            stop_early=True,
            output_fmt="NCHW",
            intermediates_only=True,
        )
        return features[0]

    def stage_of(self, name: str) -> str:
        inside = f"{name}." if name else ""
        stages = [stage for owned, stage in self._owners.items() if f"{owned}.".startswith(inside)]
        if not stages:
            raise KeyError(name)
        return self.stage_names[max(stages)]

    def cut(self, stage: str) -> TimmBackbone:
        end = self.position(stage) + 1
        if end == len(self.stage_names):
            return self
        part = _first_stages(self.model, end)
        return TimmBackbone(part, self.channels[:end], image_size=self.image_size)

    def _find_owners(self) -> dict[str, int]:
        """The first stage that needs each parameter, buffer and module, by its name."""
        owners: dict[str, int] = {}
        before: dict[str, Tensor] = {}
        for stage in range(len(self.stage_names)):
            last = stage == len(self.stage_names) - 1
            part = self.model if last else _first_stages(self.model, stage + 1)
            tensors = dict(part.named_parameters()) | dict(part.named_buffers())
            if any(tensors.get(name) is not tensor for name, tensor in before.items()):
                fault = (
                    f"the stages of timm's {type(self.model).__name__} do not follow one another"
                )
                raise ConfigError([f"model.name: {fault}, so it cannot be cut or frozen by stage"])
            before = tensors
            for name in (*tensors, *(name for name, _ in part.named_modules())):
                owners.setdefault(f"model.{name}" if name else "model", stage)
        return owners


def _first_stages(model: nn.Module, count: int) -> Any:
    """The model's first stages, on the same weights."""
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    part: Any = copy.deepcopy(model, memo=shared)
    part.prune_intermediate_layers([count - 1], prune_norm=True, prune_head=True)
    return part


def timm_model(
    in_channels: int, *, name: Text, pretrained: bool, image_size: Count | None
) -> TimmBackbone:
    """A timm model without its classifier, with the stages ``stage1``, ``stage2``, ...

    Args:
        name: as in ``timm.list_models()``, with or without a pretrained tag.
        pretrained: downloads timm's weights, and adapts them to ``in_channels``.
        image_size: height and width in pixels, for architectures that accept one size only (most
            transformers); None is the size that the model was published with. Others ignore it.

    Raises:
        ConfigError: timm has no such model, or the model has no stages that follow one another.
        WeightsError: there are no pretrained weights, or they cannot be downloaded.
    """
    import timm

    known = [*timm.list_models(), *timm.list_models(pretrained=True)]
    if name not in known:
        close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(close)}?" if close else "see timm.list_models()"
        raise ConfigError([f"model.name={name}: timm {timm.__version__} has no such model; {hint}"])
    if pretrained and not timm.is_model_pretrained(name):
        raise WeightsError(f"model.pretrained=true: timm has no weights for model.name={name}.")
    published: Any = timm.get_pretrained_cfg(name, allow_unregistered=False)
    fixed_size = (image_size or published.input_size[-1]) if published.fixed_input_size else None
    options: dict[str, Any] = {"in_chans": in_channels, "num_classes": 0}
    if fixed_size and image_size:
        options["img_size"] = image_size
    try:
        model: Any = timm.create_model(name, pretrained=pretrained, **options)
    except Exception as error:
        if not pretrained:
            raise
        # The type of a failed download's error differs between versions of the hub's client.
        raise WeightsError(
            f"model.pretrained=true: timm's weights for {name} could not be downloaded ({error}). "
            "Go online once to cache them, set model.pretrained=false, or give a file with "
            "model.weights=FILE.safetensors."
        ) from error
    if not hasattr(model, "prune_intermediate_layers"):
        raise ConfigError([f"model.name={name}: timm does not split this model into stages"])
    channels = [level["num_chs"] for level in model.feature_info]
    # The norm may change their number: SAM's is a neck of convolutions.
    channels[-1] = model.feature_info[-1].get("num_chs_norm", channels[-1])
    model.prune_intermediate_layers([len(channels) - 1], prune_norm=False, prune_head=True)
    return TimmBackbone(model, channels, image_size=fixed_size)
