"""What trivial methods reach with a run's labels, measured once and kept as a run of its own."""

from __future__ import annotations

import logging
from dataclasses import replace

from ssl_rot.errors import describe_error
from ssl_rot.experiment.context import RunContext
from ssl_rot.experiment.recording import record_phase
from ssl_rot.tracking import StoredRun, Tag
from ssl_rot.training.pixel_baselines import measure_floors

log = logging.getLogger(__name__)

PREFIX = "floor/"


def find_or_measure_floors(context: RunContext) -> dict[str, float] | None:
    """The floors of the run's training and test images, by metric: ``knn_acc``, ``linear_acc``, ...

    Of several processes that want the same floors at once, one measures and the others wait.

    Returns:
        ``None`` if the run has none. An error is only a warning: a floor fails no trained run.
    """
    if not context.config["floors"]:
        return None
    try:
        found = _find(context)
        if found is not None:
            return found
        with context.tracker.store.lock(f"floor-{context.keys.floor}", everywhere=True):
            return _find(context) or _measure(context)
    except Exception as error:
        log.warning("The floors could not be measured: %s", describe_error(error))
        return None


def _find(context: RunContext) -> dict[str, float] | None:
    key = context.keys.floor
    found = context.tracker.runs.find("floor", Tag.FLOOR_KEY, key, everywhere=True)
    return None if found is None else _metrics_of(found)


def _metrics_of(run: StoredRun) -> dict[str, float]:
    return {
        name.removeprefix(PREFIX): value
        for name, value in run.metrics.items()
        if name.startswith(PREFIX)
    }


def _measure(context: RunContext) -> dict[str, float]:
    key, data = context.keys.floor, context.data
    about = {
        name: value
        for name, value in context.params.items()
        if name in ("dataset", "seed") or name.startswith("dataset.")
    }
    tags = {Tag.CONFIG_KEY: key, Tag.FLOOR_KEY: key}
    with record_phase(replace(context, params=about), "floor", tags) as recorder:
        floors = measure_floors(data.train, data.test, len(data.classes), context.compute.device)
        recorder.run.epoch(1, floors)
    return floors
