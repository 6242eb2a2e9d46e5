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

# timm is imported where it is used: it takes a second, and the other models need none of it.


class TimmBackbone(Backbone):
    """A timm model, whose stages are what its ``forward_intermediates`` tells apart.

    ``stage1`` reaches from the image to the first intermediate feature map, ``stage2`` from there
    to the second, and so on: the levels of a convolutional network, the blocks of a transformer. A
    final norm belongs to the last stage; everything behind it (pool, classifier) is dropped.

    Args:
        model: has ``forward_intermediates``, ``prune_intermediate_layers`` and ``feature_info``.
        channels: what each stage puts out.
        image_size: height and width that the model is bound to, in pixels; None if to none.

    Raises:
        ConfigError: a later stage lacks what an earlier one has, as in models with branches.
    """

    def __init__(self, model: Any, channels: Sequence[int], *, image_size: int | None) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.out_channels = self.channels[-1]
        self.stage_names = tuple(f"stage{number}" for number in range(1, len(channels) + 1))
        self.image_size = image_size
        self.model = model
        self._owners = self._find_owners()

    def forward(self, images: Tensor) -> Tensor:
        size = self.image_size
        if size is not None and images.shape[-2:] != (size, size):
            height, width = images.shape[-2:]
            raise ConfigError(
                [
                    f"model.image_size={size}, but the images have {height}x{width} pixels: "
                    f"model.image_size={height}, or dataset.image_size={size}"
                ]
            )
        features: list[Tensor] = self.model.forward_intermediates(
            images,
            indices=[len(self.channels) - 1],
            norm=True,
            stop_early=True,
            output_fmt="NCHW",
            intermediates_only=True,
        )
        return features[0]

    def stage_of(self, name: str) -> str:
        inside = [
            stage
            for owned, stage in self._owners.items()
            if not name or owned == name or owned.startswith(f"{name}.")
        ]
        if not inside:
            raise KeyError(name)
        return self.stage_names[max(inside)]

    def cut(self, stage: str) -> TimmBackbone:
        end = self.position(stage) + 1
        if end == len(self.stage_names):
            return self
        return TimmBackbone(
            _first_stages(self.model, end),
            self.channels[:end],
            image_size=self.image_size,
        )

    def _find_owners(self) -> dict[str, int]:
        """The first stage that each parameter, buffer and module is needed for, by its name."""
        owners: dict[str, int] = {}
        before: dict[str, Tensor] = {}
        for stage in range(len(self.stage_names)):
            last = stage == len(self.stage_names) - 1
            part = self.model if last else _first_stages(self.model, stage + 1)
            tensors = dict(part.named_parameters()) | dict(part.named_buffers())
            if any(tensors.get(name) is not tensor for name, tensor in before.items()):
                raise ConfigError(
                    [
                        f"model.name: the stages of timm's {type(self.model).__name__} do not "
                        "follow one another, so it cannot be cut or frozen by stage"
                    ]
                )
            before = tensors
            for name in (*tensors, *(name for name, _ in part.named_modules())):
                owners.setdefault(f"model.{name}" if name else "model", stage)
        return owners


def _first_stages(model: nn.Module, count: int) -> Any:
    """A copy of the model that ends behind its first stages and holds the same weights."""
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    part: Any = copy.deepcopy(model, memo=shared)
    part.prune_intermediate_layers([count - 1], prune_norm=True, prune_head=True)
    return part


def timm_model(
    in_channels: int, *, name: Text, pretrained: bool, image_size: Count | None
) -> TimmBackbone:
    """A timm model without its classifier, with the stages ``stage1``, ``stage2``, ...

    Args:
        in_channels: of the images; pretrained weights are adapted to it.
        name: as in ``timm.list_models()``, with or without a pretrained tag.
        pretrained: downloads timm's weights.
        image_size: height and width in pixels, for architectures that are bound to one size (most
            transformers); None is the size that the model was published with. Others take any
            size and do not look at it.

    Raises:
        ConfigError: timm has no such model, ``image_size`` is below 1, or the model has no
            stages that follow one another.
        WeightsError: the pretrained weights cannot be had.
    """
    import timm

    known = [*timm.list_models(), *timm.list_models(pretrained=True)]
    if name not in known:
        close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(close)}?" if close else "see timm.list_models()"
        raise ConfigError([f"model.name={name}: timm {timm.__version__} has no such model; {hint}"])
    if pretrained and not timm.is_model_pretrained(name):
        raise WeightsError(f"model.pretrained=true: timm has no weights for model.name={name}.")
    if image_size is not None and image_size < 1:
        raise ConfigError([f"model.image_size={image_size}: null, or 1 or more pixels"])
    published: Any = timm.get_pretrained_cfg(name, allow_unregistered=False)
    bound = published.fixed_input_size
    size: dict[str, Any] = {"img_size": image_size} if bound and image_size is not None else {}
    try:
        model: Any = timm.create_model(
            name, pretrained=pretrained, in_chans=in_channels, num_classes=0, **size
        )
    except Exception as error:
        if not pretrained:
            raise
        # What a failed download raises changes with the version of the hub's client.
        raise WeightsError(
            f"model.pretrained=true: timm's weights for {name} could not be had ({error}). Go "
            "online once to put them into the cache, or take model.pretrained=false; or give a "
            "file with model.weights=FILE.safetensors."
        ) from error
    if not hasattr(model, "prune_intermediate_layers"):
        raise ConfigError([f"model.name={name}: timm does not tell this model's stages apart"])
    channels = [level["num_chs"] for level in model.feature_info]
    model.prune_intermediate_layers([len(channels) - 1], prune_norm=False, prune_head=True)
    bound_to = (image_size or published.input_size[-1]) if bound else None
    return TimmBackbone(model, channels, image_size=bound_to)
