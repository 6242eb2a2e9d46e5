"""Starting a backbone from saved weights."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from ssl_rot.errors import WeightsError

PREFIX = "backbone."
SHOWN = 3  # how many keys a message names


def load_backbone_weights(backbone: nn.Module, path: Path) -> None:
    """Copies the weights of a safetensors file into a backbone, all of them or none.

    Args:
        backbone: receives the weights.
        path: either a backbone's state dict, or a whole classifier's, of which only ``backbone.*``
            is read: a head belongs to its task. Pickled files are not read, since they can run
            any code.

    Raises:
        WeightsError: the file is missing or damaged, or its keys or shapes do not fit.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file. Give a .safetensors file.")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: damaged, or no safetensors file ({error}).") from error
    if any(key.startswith(PREFIX) for key in tensors):
        tensors = {
            key.removeprefix(PREFIX): tensor
            for key, tensor in tensors.items()
            if key.startswith(PREFIX)
        }

    wanted = backbone.state_dict()
    shared = tensors.keys() & wanted.keys()
    faults = [
        _name("missing", wanted.keys() - tensors.keys()),
        _name("unexpected", tensors.keys() - wanted.keys()),
        _name(
            "of another shape",
            (
                f"{key} ({list(tensors[key].shape)} in the file, {list(wanted[key].shape)} here)"
                for key in shared
                if tensors[key].shape != wanted[key].shape
            ),
        ),
    ]
    if any(faults):
        raise WeightsError(f"{path} does not fit this model: {'; '.join(filter(None, faults))}.")
    backbone.load_state_dict(tensors)


def _name(what: str, keys: Iterable[str]) -> str:
    ordered = sorted(keys)
    if not ordered:
        return ""
    more = ", ..." if len(ordered) > SHOWN else ""
    return f"{len(ordered)} {what}: {', '.join(ordered[:SHOWN])}{more}"
