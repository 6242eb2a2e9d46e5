"""Copies to a device without waiting for it."""

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copies a CPU tensor to ``device``, queued behind the work that is already there.

    ``tensor.to(device)`` waits until a GPU has finished all earlier work, so with one small copy a
    step the CPU never gets ahead of it. CUDA reads pageable memory before the call returns, so the
    tensor may change right after it, unless it is pinned; other accelerators do not promise that.
    """
    return tensor.to(device, non_blocking=device.type == "cuda")
