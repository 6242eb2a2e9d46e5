"""Saved weights: safetensors files that are whole or refused."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ssl_rot import files
from ssl_rot.errors import WeightsError

PREFIX = "backbone."
SHOWN = 3  # how many keys a message names
DIGEST = "sha256"  # in the file's metadata


def save_weights(module: nn.Module, path: Path) -> None:
    """Writes a module's state dict as safetensors, with a hash of the tensors in its metadata.

    The format itself notices a file that was cut short, but not one whose bytes have changed.
    """
    tensors = {name: tensor.contiguous().cpu() for name, tensor in module.state_dict().items()}
    files.write(path, save(tensors, metadata={DIGEST: _digest(tensors)}))


def load_backbone_weights(backbone: nn.Module, path: Path) -> None:
    """Copies the weights of a safetensors file into a backbone, all of them or none.

    Args:
        backbone: receives the weights.
        path: either a backbone's state dict, or a whole classifier's, of which only ``backbone.*``
            is read: a head belongs to its task. Pickled files are not read, since they can run
            any code.

    Raises:
        WeightsError: the file is missing or damaged, or its keys or shapes do not fit. Files of
            other programs, without our hash, are taken as they are.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file. Give a .safetensors file.")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            digest = (file.metadata() or {}).get(DIGEST)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: damaged, or no safetensors file ({error}).") from error
    if digest is not None and digest != _digest(tensors):
        raise WeightsError(f"{path}: damaged, its tensors are not those that were saved.")
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


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _name(what: str, keys: Iterable[str]) -> str:
    ordered = sorted(keys)
    if not ordered:
        return ""
    more = ", ..." if len(ordered) > SHOWN else ""
    return f"{len(ordered)} {what}: {', '.join(ordered[:SHOWN])}{more}"
