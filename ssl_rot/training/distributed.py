"""Several processes that train one network, as torchrun starts them.

The first one is the run: it alone reads the config, talks to MLflow and writes. The others train
along when it tells them to, and know nothing else. So what it decides (which weights to take, from
which checkpoint to go on, when to stop) need not be found out by each of them.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ssl_rot.errors import LostProcesses, UserError

# What the others wait for may take its time: a lock, a download, a sweep's next job.
PATIENCE = timedelta(days=30)


class Stopped(Exception):
    """The first process has ended the phase; the others end it too."""


@dataclass
class Group:
    """The processes of one run; of a run without others, where all of this does nothing.

    Args:
        rank: of this process, from 0, the first.
        size: how many there are.
        local_rank: of this process among those of its machine.
        orders: the connection by which the first one tells what to do.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    orders: Any = None
    busy: bool = False

    @property
    def alone(self) -> bool:
        return self.size == 1

    @property
    def own_name(self) -> tuple[int, ...]:
        """Tells the random numbers apart that each process draws for itself."""
        return (self.rank,) if self.rank else ()

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, in place."""
        if not self.alone:
            dist.all_reduce(values)
        return values

    def align(self, module: nn.Module, *, buffers_only: bool = False) -> None:
        """Takes the first process's parameters and buffers."""
        if self.alone:
            return
        tensors = [*module.buffers()] if buffers_only else [*module.state_dict().values()]
        for tensor in tensors:
            dist.broadcast(tensor.detach(), 0)

    def parallel(self, network: nn.Module) -> nn.Module:
        """The network, its gradients averaged over the processes as they are computed."""
        if self.alone:
            return network
        with warnings.catch_warnings():  # newer versions have another name for the option
            warnings.simplefilter("ignore", FutureWarning)
            return DistributedDataParallel(network, broadcast_buffers=False)

    def send(self, message: Any) -> None:
        """From the first process: gives the others, who :meth:`receive`, something to do.

        Raises:
            LostProcesses: they were left in the middle of a phase.
        """
        if self.alone:
            return
        if self.busy:
            raise LostProcesses
        dist.broadcast_object_list([message], 0, group=self.orders)

    def receive(self) -> Any:
        """What the first process tells."""
        box = [None]
        dist.broadcast_object_list(box, 0, group=self.orders)
        return box[0]

    @contextmanager
    def together(self) -> Iterator[None]:
        """Around a phase in the first process: notes if it leaves the others in the middle of it.

        A :class:`UserError` is raised by all of them at the same place.
        """
        try:
            self.busy = not self.alone
            yield
        except (UserError, Stopped):
            self.busy = False
            raise
        self.busy = False

    @contextmanager
    def agreed(self) -> Iterator[None]:
        """At the end of an epoch: what goes wrong inside, in the first process, ends all of them.

        Raises:
            Stopped: in the others, when it did.
        """
        if self.alone:
            yield
        elif self.rank:
            yield
            if not self.receive():
                raise Stopped
        else:
            try:
                yield
            except BaseException:
                self.busy = False
                self.send(False)
                raise
            self.busy = False
            self.send(True)
            self.busy = True


_group: Group | None = None


def group() -> Group:
    """This process's group; torchrun's are joined at the first call."""
    global _group
    if _group is None:
        size = int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1
        if size == 1:
            _group = Group()
        else:
            dist.init_process_group()  # gloo for tensors on the CPU, NCCL for those on a GPU
            orders = dist.new_group(backend="gloo", timeout=PATIENCE)
            _group = Group(dist.get_rank(), size, int(os.environ["LOCAL_RANK"]), orders)
    return _group


def dismiss() -> None:
    """Lets the other processes go home."""
    global _group
    if _group is not None and not _group.alone:
        if not _group.busy:
            _group.send(None)
            dist.destroy_process_group()
        _group = None


def device_of(name: str) -> torch.device:
    """The device of a kind that this process has to itself."""
    own = group()
    if name != "cuda" or own.alone:
        return torch.device(name)
    torch.cuda.set_device(own.local_rank)
    return torch.device(name, own.local_rank)
