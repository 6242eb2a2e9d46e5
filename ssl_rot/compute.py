"""Where and in what precision a run computes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Compute:
    """A device and a precision, ``fp32`` or ``bf16``."""

    device: torch.device
    precision: str

    @property
    def layout(self) -> torch.memory_format:
        """Convolutions are faster with the channels last, except where Metal runs them."""
        mps = self.device.type == "mps"
        return torch.contiguous_format if mps else torch.channels_last

    def place(self, model: nn.Module) -> None:
        """Moves a model to the device and into its layout, in place."""
        model.to(self.device)
        model.to(memory_format=self.layout)

    def forward(self, model: nn.Module, inputs: Tensor) -> Tensor:
        """``model`` on a batch ``[B, C, H, W]`` on the device, in the precision asked for."""
        bf16 = self.precision == "bf16"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=bf16):
            outputs: Tensor = model(inputs.contiguous(memory_format=self.layout))
        return outputs

    def logits(self, model: nn.Module, inputs: Tensor) -> Tensor:
        """float32 logits ``[B, K]``: losses are not left to bfloat16."""
        return self.forward(model, inputs).float()


def resolve(device: str, precision: str) -> Compute:
    """What ``auto`` comes to on this machine."""
    if device == "auto":
        mps = torch.backends.mps.is_available()
        device = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    if precision == "auto":
        precision = "bf16" if _has_bf16(device) else "fp32"
    if device == "cuda":  # so that the same run gives the same bits
        torch.backends.cudnn.deterministic = True
    return Compute(torch.device(device), precision)


def _has_bf16(device: str) -> bool:
    """Whether the hardware itself computes in bfloat16; emulation is slower than float32."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device == "cpu" and hasattr(torch.cpu, "get_capabilities"):
        there = torch.cpu.get_capabilities()
        return any(there.get(name) for name in ("avx512_bf16", "amx_bf16", "amx_tile"))
    return False
