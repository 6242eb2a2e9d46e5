"""The process of one job: forked with everything imported, it runs the job and reports."""

from __future__ import annotations

import importlib
import inspect
import logging
import os
import pickle
import signal
import sys
import tempfile
import traceback
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from ssl_rot.errors import describe_error
from ssl_rot.sweep.redirection import JOB_OUTPUT
from ssl_rot.sweep.slots import Slot


@dataclass(frozen=True)
class JobOrder:
    """All that the process of a job needs to know.

    Args:
        job: the composed config with its ``hydra`` node, pickled.
        config: the same resolved and validated.
        is_planned: the whole sweep was planned, and no other job trains the same or has done so.
        folder: of the job.
        task: module and name of the function that ``hydra.main`` decorates.
        context: Hydra's, with its callbacks.
        environment: of the sweep.
        ignored: signals that the sweep ignores, as under ``nohup``.
    """

    job: bytes
    config: dict[str, Any]
    is_planned: bool
    folder: Path
    task: tuple[str, str]
    context: HydraContext
    slot: Slot
    environment: dict[str, str]
    ignored: frozenset[signal.Signals]


@dataclass(frozen=True)
class JobOutcome:
    """How a job ended.

    Args:
        value: that it returned.
        problem: why it did not finish, in one line; ``None`` if it did.
    """

    value: Any = None
    problem: str | None = None


PRETRAINED = "pretrained"
"""Sent once by a job that has the pre-trained weights it needs."""

_order: JobOrder | None = None
_connection: Connection | None = None


def current_order() -> JobOrder | None:
    """The order that this process carries out; ``None`` in any other process."""
    return _order


def announce_pretrained() -> None:
    """Lets the jobs start that need the same pre-trained weights as this one."""
    if _connection is not None:
        _send(_connection, PRETRAINED)


def _send(connection: Connection, message: JobOutcome | str) -> None:
    with suppress(OSError):  # the sweep's process was killed; the job goes on
        connection.send(message)


def run_order(order: JobOrder, connection: Connection) -> None:
    """The whole life of the process."""
    global _order, _connection
    _order, _connection = order, connection
    try:
        _prepare(order)
        _redirect_output(order.folder / JOB_OUTPUT)
        job: DictConfig = pickle.loads(order.job)
        returned = run_job(
            hydra_context=order.context,
            task_function=_find_task(*order.task),
            config=job,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
        report = _make_report(returned)
    except BaseException as error:
        report = JobOutcome(problem=describe_error(error))
        if isinstance(error, Exception):
            with suppress(OSError):  # the disk that the output is on is full
                traceback.print_exc()
    _send(connection, report)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # All that must be kept is on the disk. The usual end of a process could wait for a library's
    # thread that a signal met while it started.
    os._exit(0)


def _prepare(order: JobOrder) -> None:
    import torch

    os.environ.clear()
    os.environ.update(order.environment | order.slot.environment)
    tempfile.tempdir = None
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, order.slot.cores)
    torch.set_num_threads(order.slot.threads)
    # SIGINT stays ignored until the job handles it: Ctrl-C reaches it in a terminal.
    for signum in {signal.SIGTERM, signal.SIGHUP} - order.ignored:
        signal.signal(signum, signal.SIG_DFL)
    setup_globals()


def _redirect_output(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def _find_task(module: str, name: str) -> TaskFunction:
    decorated = getattr(importlib.import_module(module), name)
    task: TaskFunction = inspect.unwrap(decorated)
    return task


def _make_report(returned: JobReturn) -> JobOutcome:
    if returned.status == JobStatus.COMPLETED:
        return JobOutcome(value=returned.return_value)
    return JobOutcome(problem=describe_error(returned._return_value))
