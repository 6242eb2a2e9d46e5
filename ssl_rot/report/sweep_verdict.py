"""The verdict at the end of a sweep, from the runs of its jobs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ssl_rot.errors import TrackingError
from ssl_rot.report.analysis import Question, answer
from ssl_rot.report.comparison.columns import ARM, PHASE
from ssl_rot.report.comparison.contrasts import SUPERVISED
from ssl_rot.report.load.runs import load_runs
from ssl_rot.report.page.rendering import write_report
from ssl_rot.report.page.short_version import write_short_version
from ssl_rot.tracking import Tag

_LOGGED = ("arm_mean", "reference_mean", "difference", "low", "high", "n")
# Cells whose numbers become metrics; the table has all of them.
_MOST_CELLS = 50
_IDS = 100  # in a filter


@dataclass(frozen=True)
class SweepVerdict:
    """What a sweep leaves beside its table of jobs.

    Args:
        text: for the terminal.
        files: of the report's page.
        metrics: of each cell: means, difference and interval, as fractions.
        table: a row per cell.
    """

    text: str
    files: list[Path]
    metrics: dict[str, float]
    table: pd.DataFrame


def conclude_sweep(
    uri: str, run_id: str, folder: Path, earlier: Sequence[str] = ()
) -> SweepVerdict | None:
    """Compares the arms among a sweep's jobs, and writes the page to ``folder``.

    Args:
        earlier: the ids of downstream runs that count as its jobs, whatever they belong to.

    Returns:
        ``None`` if its jobs are not of supervised-only and another arm.

    Raises:
        UserError: the runs cannot be read or compared.
    """
    runs = load_sweep_runs(uri, run_id, earlier)
    if runs is None:
        return None
    where = _of_sweep(run_id)
    downstream = runs[runs[PHASE] == "downstream"]
    arms = set(downstream[ARM].dropna())
    if SUPERVISED not in arms or len(arms) < 2:
        return None
    if set(downstream.get(f"tags.{Tag.PARENT_RUN_ID}", ())) != {run_id}:
        where = _list_ids(downstream["run_id"])
    command = f'python -m ssl_rot.report experiment_name=null "where={where}"'
    found = answer(runs, Question(), f"Sweep {run_id}", command)
    columns = ["cell", "arm", "reference", "verdict", *_LOGGED, "arm_sd", "reference_sd", "basis"]
    return SweepVerdict(
        write_short_version(found),
        write_report(found, folder),
        _name_metrics(found.cells),
        found.cells.reindex(columns=columns),
    )


def load_sweep_runs(uri: str, run_id: str, earlier: Sequence[str]) -> pd.DataFrame | None:
    """The runs of a sweep's jobs as :func:`load_runs` has them; ``None`` if there are none."""
    chunks = [earlier[first : first + _IDS] for first in range(0, len(earlier), _IDS)]
    parts = []
    for condition in (_of_sweep(run_id), *map(_list_ids, chunks)):
        with suppress(TrackingError):  # no job came as far as a downstream run
            parts.append(load_runs(None, where=condition, uri=uri))
    if not parts:
        return None
    runs = pd.concat(parts).drop_duplicates("run_id", ignore_index=True)
    runs.attrs = parts[0].attrs
    return runs


def _of_sweep(run_id: str) -> str:
    return f"tags.`{Tag.PARENT_RUN_ID}` = '{run_id}'"


def _list_ids(run_ids: Iterable[str]) -> str:
    return f"attributes.run_id IN ({', '.join(map(repr, run_ids))})"


def _name_metrics(cells: pd.DataFrame) -> dict[str, float]:
    """``verdict/<cell>/difference`` and so on, without the characters that MLflow refuses."""
    return {
        f"verdict/{re.sub(r'[^A-Za-z0-9_. -]', '_', row['cell'])[:150]}/{name}": float(row[name])
        for row in cells.head(_MOST_CELLS).to_dict("records")
        for name in _LOGGED
        if np.isfinite(row[name])
    }
