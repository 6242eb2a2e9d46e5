"""The device, precision and processes that a run computes with."""

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ssl_rot.errors import CompileFailed, ConfigError
from ssl_rot.training.distributed import Group, current_group


@dataclass(frozen=True)
class Compute:
    """The hardware and the arithmetic (``fp32`` or ``bf16``) of a run.

    With ``sync_batchnorm``, the processes of the group share BatchNorm's statistics.
    """

    device: torch.device
    precision: str
    compiled: bool = False
    group: Group = field(default_factory=Group)
    sync_batchnorm: bool = False

    @property
    def arithmetic(self) -> str:
        """Describes what changes a result by more than a different machine would; part of keys."""
        text = f"{self.precision} compiled" if self.compiled else self.precision
        if self.group.is_single or self.sync_batchnorm:
            return text
        return f"{text}, BatchNorm in {self.group.size} parts"

    @property
    def layout(self) -> torch.memory_format:
        """Channels last, which makes convolutions faster, except on Metal."""
        mps = self.device.type == "mps"
        return torch.contiguous_format if mps else torch.channels_last

    def place(self, model: nn.Module) -> None:
        """Moves a model to the device and into the memory layout, in place; keeps its names."""
        if self.sync_batchnorm and not self.group.is_single:
            nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        model.to(self.device)
        model.to(memory_format=self.layout)
        if self.compiled:
            torch.compiler.reset()  # earlier jobs of this process count toward a limit
            model.compile()

    @contextmanager
    def compile_errors(self) -> Iterator[None]:
        """Raises :class:`CompileFailed` for the errors of ``torch.compile`` inside the block."""
        try:
            yield
        except (RuntimeError, AssertionError) as error:
            if self.compiled and _is_from_compiler(error):
                raise CompileFailed(error) from error
            raise

    def forward(self, model: nn.Module, inputs: Tensor) -> Tensor:
        """Applies ``model`` to a batch ``[B, C, H, W]`` on the device, in the run's precision."""
        bf16 = self.precision == "bf16"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=bf16):
            outputs: Tensor = model(inputs.contiguous(memory_format=self.layout))
        return outputs

    def logits(self, model: nn.Module, inputs: Tensor) -> Tensor:
        """float32 logits ``[B, K]``: losses are never computed in bfloat16."""
        return self.forward(model, inputs).float()


def resolve_compute(
    device: str, precision: str, *, compiled: bool = False, sync_batchnorm: bool = False
) -> Compute:
    """Resolves a device or precision of ``auto``, and joins the processes that torchrun started.

    On CUDA it asks for cuDNN's deterministic kernels, which makes repeated runs differ less, but
    not bit-identical: that would also take ``torch.use_deterministic_algorithms``, which slows
    training down and which some operators do not support.

    Raises:
        ConfigError: ``sync_batchnorm`` on a device for which torch does not support it.
    """
    if device == "auto":
        mps = torch.backends.mps.is_available()
        device = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    if precision == "auto":
        precision = "bf16" if _has_bf16(device) else "fp32"
    if device == "cuda":
        torch.backends.cudnn.deterministic = True
    processes = current_group()
    if sync_batchnorm and not processes.is_single and device != "cuda":
        raise ConfigError([f"sync_batchnorm=true needs GPUs, but this run is on device={device}"])
    place = torch.device(device)
    if device == "cuda" and not processes.is_single:
        place = torch.device(device, processes.local_rank)
        torch.cuda.set_device(place)
    return Compute(place, precision, compiled, processes, sync_batchnorm)


def _is_from_compiler(error: Exception) -> bool:
    """Whether torch's compiler raised it, or a check in the code that it generated."""
    module = type(error).__module__
    if isinstance(error, AssertionError):  # code that it generated is in a torch._inductor module
        *_, (innermost, _) = traceback.walk_tb(error.__traceback__)
        module = innermost.f_globals.get("__name__", "")
    return module.startswith(("torch._dynamo", "torch._inductor"))


def describe_gpus() -> str:
    """How many GPUs this process sees, and the variable that may hide others."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "is not set")
    return f"{torch.cuda.device_count()} GPUs (CUDA_VISIBLE_DEVICES={visible})"


def _has_bf16(device: str) -> bool:
    """Whether the hardware supports bfloat16 natively; emulation is slower than float32."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device == "cpu" and hasattr(torch.cpu, "get_capabilities"):
        capabilities = torch.cpu.get_capabilities()
        return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "amx_tile"))
    return False
