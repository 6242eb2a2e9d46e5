"""Reads an exported folder: JSON and safetensors alone, and nothing in it is run.

A folder may come from anybody. Its config only chooses among this package's own networks, and
nothing is allocated but what the weights file holds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError, validate_call
from torch import Tensor

from ssl_rot.deploy.classifier import ImageClassifier
from ssl_rot.deploy.layout import CONFIG_FILE, WEIGHTS_FILE, ExportedConfig, Network
from ssl_rot.errors import ConfigError, UserError, WeightsError, describe_error
from ssl_rot.models import (
    Classifier,
    conv_head,
    linear_head,
    mlp_head,
    nin,
    resnet,
    timm_model,
)
from ssl_rot.models.weights import check_fit, read_weights
from ssl_rot.seeding import seeded

BACKBONES = {f"ssl_rot.models.{build.__name__}": build for build in (nin, resnet, timm_model)}
HEADS = {f"ssl_rot.models.{build.__name__}": build for build in (conv_head, linear_head, mlp_head)}
MOST_BYTES = 2**24
"""Of a config.json: enough for the names of a hundred thousand classes."""

# The last layer of `linear_head`, as its state dict names it.
_LINEAR = "head.2."
_TIMM = "backbone.model."


def read_exported(folder: Path) -> ImageClassifier:
    """The classifier in a folder that ``ssl_rot.export`` wrote.

    Raises:
        WeightsError: the folder is damaged, or not an exported one, or of a network that is not
            one of this package's.
    """
    config = read_config(folder)
    tensors = read_weights(folder / WEIGHTS_FILE)
    if config.ssl_rot.names == "timm":
        tensors = from_timm_names(tensors, str(config.pretrained_cfg.classifier))
    images = config.pretrained_cfg
    try:
        network = _build(config.ssl_rot, len(images.mean), config.num_classes, tensors)
    except ConfigError as error:  # of what was built
        raise WeightsError(f"{folder / CONFIG_FILE}: {'; '.join(error.faults)}") from error
    except UserError as error:
        raise WeightsError(f"{folder / CONFIG_FILE}: {error}") from error
    except Exception as error:  # a hostile config makes torch raise anything
        raise WeightsError(
            f"{folder / CONFIG_FILE} describes no network that can be built: {_first_fault(error)}"
        ) from error
    expected = network.state_dict()
    check_fit(expected, tensors, folder / WEIGHTS_FILE)
    if any(tensor.dtype != expected[key].dtype for key, tensor in tensors.items()):
        raise WeightsError(f"{folder / WEIGHTS_FILE} has tensors of other types than its network")
    network.load_state_dict(tensors, assign=True)
    return ImageClassifier(
        network,
        mean=images.mean,
        std=images.std,
        image_size=images.input_size[-1],
        classes=config.label_names,
    )


def read_config(folder: Path) -> ExportedConfig:
    """What config.json says.

    Raises:
        WeightsError: there is none, or it is not that of an export.
    """
    path = folder / CONFIG_FILE
    if not path.is_file() or path.stat().st_size > MOST_BYTES:  # a pipe would block
        raise WeightsError(f"{folder} is not an exported model: it has no readable {CONFIG_FILE}")
    try:
        return ExportedConfig.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise WeightsError(f"{path} is not that of an export: {_first_fault(error)}") from error


def to_timm_names(tensors: dict[str, Tensor], classifier: str) -> dict[str, Tensor]:
    """The state dict of a timm backbone under a linear head, as timm names it."""
    return {
        key.removeprefix(_TIMM)
        if key.startswith(_TIMM)
        else f"{classifier}.{key.removeprefix(_LINEAR)}": tensor
        for key, tensor in tensors.items()
    }


def from_timm_names(tensors: dict[str, Tensor], classifier: str) -> dict[str, Tensor]:
    """The reverse of :func:`to_timm_names`."""
    prefix = f"{classifier}."
    return {
        f"{_LINEAR}{key.removeprefix(prefix)}"
        if key.startswith(prefix)
        else f"{_TIMM}{key}": tensor
        for key, tensor in tensors.items()
    }


def _build(
    network: Network, in_channels: int, num_classes: int, tensors: dict[str, Tensor]
) -> Classifier:
    backbone, head = network.backbone, network.head
    for part, known in ((backbone, BACKBONES), (head, HEADS)):
        if part.builder not in known:
            raise WeightsError(
                f"its network is built by {part.builder}, which is not part of ssl_rot; predict "
                "with the run that it was exported from, or use its model.pt2 or model.onnx"
            )
    blocks = backbone.arguments.get("blocks", [])
    if not isinstance(blocks, list) or not all(type(n) is int for n in blocks):
        raise WeightsError(f"its blocks are {blocks!r}, which are not whole numbers")
    if len(tensors) < sum(blocks):
        raise WeightsError(f"it has more blocks than {WEIGHTS_FILE} has tensors")
    is_timm = backbone.builder == "ssl_rot.models.timm_model"
    arguments = backbone.arguments | ({"pretrained": False} if is_timm else {})
    # On the meta device, a network has shapes alone, whatever size it pretends to. timm's have
    # buffers of their own that no weights file holds, so that they are built again once they fit.

    def build() -> Classifier:
        body = _call(BACKBONES[backbone.builder], in_channels, **arguments)
        body = body if network.cut is None else body.cut(network.cut)
        top = _call(HEADS[head.builder], body.out_channels, num_classes, **head.arguments)
        return Classifier(body, top)

    with seeded(0, "export"):
        if not is_timm:
            with torch.device("meta"):
                return build()
        try:
            with torch.device("meta"):
                shapes = build().state_dict()
        except Exception:  # some of timm's read the values of a tensor
            return build()
        check_fit(shapes, tensors, Path(WEIGHTS_FILE))
        return build()


def _call(build: Any, *given: int, **arguments: Any) -> Any:
    return validate_call(build)(*given, **arguments)


def _first_fault(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return describe_error(error)
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}" if where else str(first["msg"])
