"""Whether rotation is better, by how much, and how sure that is: load, pair, compare, render.

In a notebook each step returns a DataFrame with documented columns::

    from ssl_rot.report import compare, load_histories, load_runs, pair_runs

    runs = load_runs("ssl_rot", where="params.dataset = 'digits'")
    pairs = pair_runs(runs, load_histories(runs), metric="test_acc")
    cells = compare(pairs, by=["freeze"])
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssl_rot.report.comparison.cell_statistics import compare
    from ssl_rot.report.comparison.pairing import pair_runs
    from ssl_rot.report.comparison.selection import select_settings
    from ssl_rot.report.load.histories import load_histories
    from ssl_rot.report.load.predictions import load_predictions
    from ssl_rot.report.load.runs import load_runs

__all__ = [
    "compare",
    "load_histories",
    "load_predictions",
    "load_runs",
    "pair_runs",
    "select_settings",
]

_MODULES = {
    "compare": "comparison.cell_statistics",
    "load_histories": "load.histories",
    "load_predictions": "load.predictions",
    "load_runs": "load.runs",
    "pair_runs": "comparison.pairing",
    "select_settings": "comparison.selection",
}


def __getattr__(name: str) -> Any:
    # Imported on demand: `python -m ssl_rot.report --help` need not wait seconds for MLflow.
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
