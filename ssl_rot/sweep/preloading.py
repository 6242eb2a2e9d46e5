"""Imported by the fork server alone: what jobs share instead of importing and loading it again.

Nothing here may initialize CUDA or use several threads: neither survives a fork.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
from contextlib import suppress
from importlib import import_module

from ssl_rot.imports import importing_much
from ssl_rot.sweep.fork_server import SOURCES_VARIABLE
from ssl_rot.training.signals import SIGNALS

_MODULES = (
    *("hydra.core.utils", "hydra._internal.callbacks", "hydra.core.plugins"),
    *("mlflow.store.tracking.sqlalchemy_store", "mlflow.store.tracking.rest_store"),
    *("mlflow.store.tracking.sqlalchemy_workspace_store",),
    *("mlflow.store.artifact.local_artifact_repo", "mlflow.store.artifact.mlflow_artifacts_repo"),
    *("mlflow.store.tracking._sql_backend_utils", "mlflow.store.tracking.file_store"),
    *("sqlalchemy.dialects.sqlite", "git", "torch._dynamo", "pyarrow.parquet"),
    *("pandas.core.arrays.arrow.extension_types", "pyarrow.pandas_compat", "netrc"),
    *("antlr4.LL1Analyzer", "hydra._internal.logging_config"),
    *("ssl_rot.config.validation", "ssl_rot.experiment.pipeline", "ssl_rot.experiment.resume"),
    *("ssl_rot.data", "ssl_rot.freeze", "ssl_rot.losses", "ssl_rot.models", "ssl_rot.pretext"),
    *("ssl_rot.schedules", "ssl_rot.sweep.callback", "ssl_rot.sweep.job_process"),
)


def _preload() -> None:
    # A signal to the whole sweep must not end the server: jobs that finish their epoch would be
    # taken for lost. Jobs handle signals themselves.
    for signum in SIGNALS:
        signal.signal(signum, signal.SIG_IGN)
    import torch
    import tqdm

    torch.set_num_threads(1)
    # tqdm's own lock is a semaphore of the system, which each job would leave behind.
    tqdm.tqdm.set_lock(threading.RLock())
    for name in _MODULES:
        with suppress(ImportError):  # another version may lack one, which only costs time
            import_module(name)

    from ssl_rot.experiment.context import load_source
    from ssl_rot.tracking.database import remember_schema

    for node in json.loads(os.environ.get(SOURCES_VARIABLE, "[]")):
        try:
            load_source(json.dumps(node))
        except Exception as error:  # the plan reports it, or the job that needs it
            logging.getLogger(__name__).debug("%s", error)
    remember_schema()


with importing_much():  # and in jobs the collector does not write to the pages that they share
    _preload()
