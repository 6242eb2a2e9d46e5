"""Is rotation better, by how much, how sure: query MLflow, pair, compare, render.

In a notebook, each step a DataFrame with documented columns::

    from ssl_rot.report import compare, load_histories, load_runs, pair_runs

    runs = load_runs("ssl_rot", where="params.dataset = 'digits'")
    pairs = pair_runs(runs, load_histories(runs), metric="test_acc")
    cells = compare(pairs, by=["freeze"])
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssl_rot.report.comparison.pair import pair_runs
    from ssl_rot.report.comparison.statistics import compare
    from ssl_rot.report.load import load_histories, load_runs

__all__ = ["compare", "load_histories", "load_runs", "pair_runs"]

_HOMES = {
    "compare": "comparison.statistics",
    "load_histories": "load",
    "load_runs": "load",
    "pair_runs": "comparison.pair",
}


def __getattr__(name: str) -> Any:
    # MLflow takes seconds to import, and `python -m ssl_rot.report --help` passes through here.
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
