"""Runs and their histories, read from MLflow into DataFrames."""

from ssl_rot.report.load.histories import COSTS, CURVES, load_histories
from ssl_rot.report.load.publish import find_sweep, publish
from ssl_rot.report.load.runs import load_runs
from ssl_rot.report.load.store import without_password

__all__ = [
    "COSTS",
    "CURVES",
    "find_sweep",
    "load_histories",
    "load_runs",
    "publish",
    "without_password",
]
