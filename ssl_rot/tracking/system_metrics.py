"""What a run takes of its machine: CPU, memory and GPU, every few seconds.

MLflow's own monitor sends every sample from a thread, and gives up on the first call that fails.
Here the samples go to a file, and from there to MLflow with the epochs.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from mlflow.environment_variables import MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL

from ssl_rot.errors import describe_error
from ssl_rot.tracking.background import in_background
from ssl_rot.tracking.history import History

log = logging.getLogger(__name__)

PREFIX = "system/"
"""Of the metrics' names; MLflow's UI has a tab of its own for them."""

_INTERVAL = 10.0  # seconds, as in MLflow


@contextmanager
def sampled(history: History) -> Iterator[None]:
    """Adds a row to ``history`` every few seconds in the block, and one at its end.

    ``MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL`` sets how many. An error ends the sampling with a
    warning, and leaves the run alone.
    """
    interval = float(MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL.get() or _INTERVAL)  # type: ignore[no-untyped-call]

    def sample(ended: threading.Event) -> None:
        try:
            monitors = _make_monitors()
            is_last = False
            while not is_last:
                is_last = ended.wait(interval)
                values: dict[str, float] = {}
                for monitor in monitors:
                    monitor.collect_metrics()
                    values |= monitor.aggregate_metrics()
                    monitor.clear_metrics()
                history.add(len(history.rows) + 1, values)
        except Exception as error:
            log.warning("The system metrics are not recorded: %s", describe_error(error))

    with in_background(sample):
        yield


def _make_monitors() -> list[Any]:
    # Imported here, since they need extras.
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.rocm_monitor import ROCMMonitor

    monitors: list[Any] = [CPUMonitor()]  # type: ignore[no-untyped-call]
    monitors[0].collect_metrics()  # from here on it measures
    monitors[0].clear_metrics()
    for kind in (GPUMonitor, ROCMMonitor):
        with suppress(Exception):  # no such card
            monitors.append(kind())
    return monitors
