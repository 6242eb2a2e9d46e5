"""Weights as safetensors files, which are checked for damage."""

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ssl_rot import files
from ssl_rot.errors import WeightsError

PREFIX = "backbone."
DIGEST = "sha256"  # the key in the file's metadata
KEYS_IN_MESSAGE = 3


def save_weights(module: nn.Module, path: Path) -> None:
    """Writes a module's state dict as safetensors, with a hash of the tensors in its metadata.

    The format itself detects a truncated file, but not changed bytes.
    """
    save_tensors(module.state_dict(), path)


def save_tensors(state: Mapping[str, Tensor], path: Path) -> None:
    """Like :func:`save_weights`, for a state dict."""
    tensors = {
        # A copy, since the format has no tensors that share memory: tied weights are stored twice.
        name: tensor.cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in state.items()
    }
    files.write(path, save(tensors, metadata={DIGEST: _digest(tensors)}))


def load_backbone_weights(backbone: nn.Module, path: Path) -> None:
    """Copies the weights of a safetensors file into a backbone, all of them or none.

    The head of a whole classifier is ignored. Pickled files are refused, since they can run any
    code.

    Raises:
        WeightsError: the file is missing or damaged, or its keys or shapes do not fit.
    """
    tensors = read_weights(path)
    inner = {k.removeprefix(PREFIX): v for k, v in tensors.items() if k.startswith(PREFIX)}
    tensors = inner or tensors
    check_fit(backbone.state_dict(), tensors, path)
    backbone.load_state_dict(tensors)


def check_fit(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor], path: Path) -> None:
    """Compares the tensors of a file with a state dict.

    Raises:
        WeightsError: their keys or shapes differ.
    """
    differing = [
        f"{key} ({_shape(tensors[key])} in the file, {_shape(expected[key])} here)"
        for key in tensors.keys() & expected.keys()
        if _shape(tensors[key]) != _shape(expected[key])
    ]
    faults = [
        _list_keys("missing", expected.keys() - tensors.keys()),
        _list_keys("unexpected", tensors.keys() - expected.keys()),
        _list_keys("of another shape", differing),
    ]
    if any(faults):
        raise WeightsError(f"{path} does not fit this model: {'; '.join(filter(None, faults))}.")


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file; checks the hash of :func:`save_weights` if it has one.

    Raises:
        WeightsError: the file is missing or damaged.
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
    return tensors


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _shape(tensor: Tensor) -> list[int]:
    return list(tensor.shape)


def _list_keys(what: str, keys: Collection[str]) -> str:
    shown = ", ".join(sorted(keys)[:KEYS_IN_MESSAGE])
    more = ", ..." if len(keys) > KEYS_IN_MESSAGE else ""
    return f"{len(keys)} {what}: {shown}{more}" if keys else ""
