"""Backbones: networks of named stages. Freezing, probing and cutting refer to stages alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from ssl_rot.errors import ConfigError


class Backbone(nn.Module, ABC):
    """A network from images to a feature map, made of named stages.

    Attributes:
        stage_names: the stages in the order data flows through them.
        out_channels: channels of the feature map that :meth:`forward` returns.
    """

    stage_names: tuple[str, ...]
    out_channels: int

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Maps images ``[B, in_channels, H, W]`` to features ``[B, out_channels, H', W']``."""

    @abstractmethod
    def stage_of(self, name: str) -> str:
        """The stage that a parameter, a buffer or a submodule belongs to.

        A module with parts in several stages belongs to the last of them, so that freezing up to a
        stage never freezes more.

        Args:
            name: as in ``named_parameters()``, ``named_buffers()`` or ``named_modules()``.

        Raises:
            KeyError: nothing in this backbone has that name.
        """

    @abstractmethod
    def cut(self, stage: str) -> Backbone:
        """The part up to and including ``stage``, on the same weights.

        Raises:
            ConfigError: there is no such stage.
        """

    def position(self, stage: str) -> int:
        """The index of ``stage`` in :attr:`stage_names`; a :class:`ConfigError` if it is none."""
        if stage not in self.stage_names:
            known = ", ".join(self.stage_names)
            raise ConfigError([f"stage {stage!r}: this model's stages are {known}"])
        return self.stage_names.index(stage)


class StagedBackbone(Backbone):
    """A backbone whose children are its stages, run one after the other.

    Args:
        stages: in order, by name. Names in the state dict start with it: ``stage1.0.conv1.weight``.
        channels: output channels of each stage.
    """

    def __init__(self, stages: Mapping[str, nn.Module], channels: Sequence[int]) -> None:
        super().__init__()
        self.stage_names = tuple(stages)
        self.channels = tuple(channels)
        self.out_channels = self.channels[-1]
        for name, stage in stages.items():
            self.add_module(name, stage)

    def forward(self, images: Tensor) -> Tensor:
        features = images
        for stage in self.children():
            features = stage(features)
        return features

    def stage_of(self, name: str) -> str:
        if not name:
            return self.stage_names[-1]
        stage = name.partition(".")[0]
        if stage not in self.stage_names:
            raise KeyError(name)
        return stage

    def cut(self, stage: str) -> StagedBackbone:
        end = self.position(stage) + 1
        kept = {name: self.get_submodule(name) for name in self.stage_names[:end]}
        return StagedBackbone(kept, self.channels[:end])


class Classifier(nn.Module):
    """A head on a backbone: images ``[B, C, H, W]`` to logits ``[B, num_classes]``."""

    def __init__(self, backbone: Backbone, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.backbone(images))
        return logits
