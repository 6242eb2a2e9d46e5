"""Where and in what precision a run computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ssl_rot.errors import CompileFailed, ConfigError
from ssl_rot.training.distributed import Group, device_of, group


@dataclass(frozen=True)
class Compute:
    """What a run computes with.

    Args:
        device: of the network and its batches.
        precision: ``fp32`` or ``bf16``.
        compiled: whether the network goes through ``torch.compile``.
        group: the processes that share the work.
        sync_batchnorm: whether they share BatchNorm's statistics too.
    """

    device: torch.device
    precision: str
    compiled: bool = False
    group: Group = field(default_factory=Group)
    sync_batchnorm: bool = False

    @property
    def arithmetic(self) -> str:
        """Changes with what can change a result by more than where it was computed does."""
        text = f"{self.precision} compiled" if self.compiled else self.precision
        apart = not self.group.alone and not self.sync_batchnorm
        return f"{text}, BatchNorm in {self.group.size} parts" if apart else text

    @property
    def layout(self) -> torch.memory_format:
        """Convolutions are faster with the channels last, except where Metal runs them."""
        mps = self.device.type == "mps"
        return torch.contiguous_format if mps else torch.channels_last

    def place(self, model: nn.Module) -> None:
        """Moves a model to the device and into its layout, in place; its names stay as they are."""
        if self.sync_batchnorm and not self.group.alone:
            nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        model.to(self.device)
        model.to(memory_format=self.layout)
        if self.compiled:
            torch.compiler.reset()  # what another job of this process compiled counts to a limit
            model.compile()

    @contextmanager
    def compiling(self) -> Iterator[None]:
        """Inside the block, what ``torch.compile`` cannot do is the user's to hear.

        Raises:
            CompileFailed: no compiler, or a network that is beyond it.
        """
        try:
            yield
        except RuntimeError as error:
            if self.compiled and type(error).__module__.startswith(("torch._dynamo", "torch._ind")):
                raise CompileFailed(error) from error
            raise

    def forward(self, model: nn.Module, inputs: Tensor) -> Tensor:
        """``model`` on a batch ``[B, C, H, W]`` on the device, in the precision asked for."""
        bf16 = self.precision == "bf16"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=bf16):
            outputs: Tensor = model(inputs.contiguous(memory_format=self.layout))
        return outputs

    def logits(self, model: nn.Module, inputs: Tensor) -> Tensor:
        """float32 logits ``[B, K]``: losses are not left to bfloat16."""
        return self.forward(model, inputs).float()


def resolve(
    device: str, precision: str, *, compiled: bool = False, sync_batchnorm: bool = False
) -> Compute:
    """What ``auto`` comes to on this machine.

    Raises:
        ConfigError: ``sync_batchnorm`` where torch has none.
    """
    if device == "auto":
        mps = torch.backends.mps.is_available()
        device = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    if precision == "auto":
        precision = "bf16" if _has_bf16(device) else "fp32"
    if device == "cuda":  # so that the same run gives the same bits
        torch.backends.cudnn.deterministic = True
    processes = group()
    if sync_batchnorm and not processes.alone and device != "cuda":
        raise ConfigError([f"sync_batchnorm=true needs GPUs, and this run is on device={device}"])
    return Compute(device_of(device), precision, compiled, processes, sync_batchnorm)


def _has_bf16(device: str) -> bool:
    """Whether the hardware itself computes in bfloat16; emulation is slower than float32."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device == "cpu" and hasattr(torch.cpu, "get_capabilities"):
        there = torch.cpu.get_capabilities()
        return any(there.get(name) for name in ("avx512_bf16", "amx_bf16", "amx_tile"))
    return False
