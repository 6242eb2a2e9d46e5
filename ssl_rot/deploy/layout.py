"""The layout of an exported folder: its files, and what its config.json says."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ssl_rot.option_types import ImageSize

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"  # the name that timm and transformers look for
CARD_FILE = "README.md"
ONNX_FILE = "model.onnx"
ONNX_DATA_FILE = "model.onnx.data"  # of networks that are too large for one ONNX file
PT2_FILE = "model.pt2"
FILES = (CONFIG_FILE, WEIGHTS_FILE, CARD_FILE, ONNX_FILE, ONNX_DATA_FILE, PT2_FILE)

Names = Annotated[list[str], Field(min_length=1)]
Means = Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], Field(min_length=1)]
Deviations = Annotated[
    list[Annotated[float, Field(gt=0, allow_inf_nan=False)]], Field(min_length=1)
]


class Part(BaseModel):
    """A backbone or a head: the public path of what builds it, and its arguments."""

    model_config = ConfigDict(extra="forbid")

    builder: str
    arguments: dict[str, Any]


class Network(BaseModel):
    """How to build the network.

    ``names`` says whose names the weights have: ``ssl_rot``'s, or those of the timm model with its
    own classifier.
    """

    model_config = ConfigDict(extra="forbid")

    format: Literal[1]
    backbone: Part
    cut: str | None
    head: Part
    names: Literal["ssl_rot", "timm"]


class PretrainedCfg(BaseModel):
    """What timm calls so: the images that the network expects."""

    input_size: tuple[int, ImageSize, ImageSize]
    mean: Means
    std: Deviations
    classifier: str | None = None


class ExportedConfig(BaseModel):
    """The part of config.json that ssl_rot reads; the rest is for timm and the Hub."""

    num_classes: int
    label_names: Names
    pretrained_cfg: PretrainedCfg
    ssl_rot: Network

    @model_validator(mode="after")
    def _check_counts(self) -> ExportedConfig:
        images = self.pretrained_cfg
        channels, height, width = images.input_size
        if height != width:
            raise ValueError("pretrained_cfg.input_size is not square")
        if not len(images.mean) == len(images.std) == channels:
            raise ValueError(f"mean and std do not have {channels} channels")
        if len(self.label_names) != self.num_classes:
            raise ValueError(f"label_names does not have {self.num_classes} names")
        return self
