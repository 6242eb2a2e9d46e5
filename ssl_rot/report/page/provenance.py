"""Which commands and versions made the runs, as far as they recorded it."""

from __future__ import annotations

import platform
import re
from importlib.metadata import version

import pandas as pd

import ssl_rot
from ssl_rot.report.page.tables import counted
from ssl_rot.tracking import Tag


def commands(runs: pd.DataFrame) -> list[tuple[str, int]]:
    """The commands, and how many downstream runs each made.

    Args:
        runs: from :func:`ssl_rot.report.load_runs`.
    """
    columns = [f"tags.{tag}" for tag in (Tag.PHASE, Tag.COMMAND, Tag.PARENT_RUN_ID)]
    phase, command, parent = (runs.reindex(columns=columns)[c] for c in columns)
    # A sweep's command stands in its parent run.
    of_parent = parent.map(dict(zip(runs["run_id"], command, strict=True)))
    known = command.fillna(of_parent)[phase == "downstream"].dropna()
    return counted(_as_typed(line) for line in known)


def _as_typed(command: str) -> str:
    """``python -m ssl_rot.run`` for the path of the file that it ran."""
    return re.sub(r"^('[^']*run\.py'|\S*run\.py)(?=\s|$)", "python -m ssl_rot.run", command)


def versions(runs: pd.DataFrame) -> list[tuple[str, list[tuple[str, int]]]]:
    """Of what made the runs, and of what made this report."""
    names = {
        "tags.ssl_rot.version": "ssl_rot (runs)",
        "tags.mlflow.source.git.commit": "commit (runs)",
    }
    names |= {
        column: column.removeprefix("tags.version.") + " (runs)"
        for column in map(str, runs)
        if column.startswith("tags.version.")
    }
    found = [(n, counted(runs[c].dropna())) for c, n in names.items() if c in runs]
    own = {"ssl_rot": ssl_rot.__version__, "Python": platform.python_version()}
    own |= {name: version(name) for name in ("mlflow", "pandas", "scipy", "matplotlib")}
    made = ", ".join(f"{name} {number}" for name, number in own.items())
    return [*found, ("this report", [(made, 1)])]
