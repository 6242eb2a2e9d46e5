"""Data-parallel training of one network in several processes, as torchrun starts them.

The first process (rank 0) is the run: only it reads the config, talks to MLflow and writes files.
The others train the phases that it sends them and know nothing else. So its decisions (which
weights to use, which checkpoint to resume from, when to stop) are made once.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ssl_rot.errors import LostProcesses, UserError

CONTROL_TIMEOUT = timedelta(days=30)
"""How long the others wait for a phase: a lock, a download or a sweep's next job can take long."""


class PhaseStopped(Exception):
    """The first process stopped the phase, so the other processes stop it too."""


@dataclass
class Group:
    """The processes that train one network. In a group of one, every method does nothing.

    Args:
        control: torch's process group for messages from the first process.
        in_phase: whether the others are training, and so not waiting for a message.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    control: Any = None
    in_phase: bool = False

    @property
    def is_single(self) -> bool:
        """Whether this process is the only one."""
        return self.size == 1

    def sum(self, values: Tensor) -> Tensor:
        """Sums over all processes, in place."""
        if not self.is_single:
            dist.all_reduce(values)
        return values

    def broadcast_state(self, module: nn.Module, *, buffers_only: bool = False) -> None:
        """Overwrites parameters and buffers with those of the first process."""
        if self.is_single:
            return
        for tensor in module.buffers() if buffers_only else module.state_dict().values():
            dist.broadcast(tensor.detach(), 0)

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network, with its gradients averaged over the processes during the backward pass."""
        if self.is_single:
            return network
        with warnings.catch_warnings():  # newer versions rename the option
            warnings.simplefilter("ignore", FutureWarning)
            return DistributedDataParallel(network, broadcast_buffers=False)

    def send(self, message: Any) -> None:
        """Sends a message from the first process to the others, which :meth:`receive` it.

        Raises:
            LostProcesses: an error left them in the middle of a phase.
        """
        if self.is_single:
            return
        if self.in_phase:
            raise LostProcesses
        dist.broadcast_object_list([message], 0, group=self.control)

    def receive(self) -> Any:
        """Waits for a message from the first process."""
        message = [None]
        dist.broadcast_object_list(message, 0, group=self.control)
        return message[0]

    @contextmanager
    def training_phase(self) -> Iterator[None]:
        """Wraps a phase in the first process, to notice an error that abandons the others in it.

        A :class:`UserError` does not: every process raises it at the same point.
        """
        try:
            self.in_phase = not self.is_single
            yield
        except (UserError, PhaseStopped):
            self.in_phase = False
            raise
        self.in_phase = False

    @contextmanager
    def ending_epoch(self) -> Iterator[None]:
        """Wraps the end of an epoch: an error inside, in the first process, stops all of them.

        Raises:
            PhaseStopped: in the others, if the first process failed or was interrupted.
        """
        if self.is_single:
            yield
        elif self.rank:
            yield
            if not self.receive():
                raise PhaseStopped
        else:
            has_ended = False
            try:
                yield
                has_ended = True
            finally:
                self.in_phase = False
                self.send(has_ended)
            self.in_phase = True


_group: Group | None = None


def current_group() -> Group:
    """The group of this process. The first call joins the processes that torchrun started."""
    global _group
    if _group is None:
        size = int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1
        if size == 1:
            _group = Group()
        else:
            dist.init_process_group()  # gloo for CPU tensors, NCCL for GPU tensors
            control = dist.new_group(backend="gloo", timeout=CONTROL_TIMEOUT)
            _group = Group(dist.get_rank(), size, int(os.environ["LOCAL_RANK"]), control)
    return _group


def dismiss_workers() -> None:
    """Tells the other processes to exit, unless they are stuck in a phase: torchrun ends those."""
    global _group
    if _group is not None and not _group.is_single:
        if not _group.in_phase:
            _group.send(None)
            dist.destroy_process_group()
        _group = None
