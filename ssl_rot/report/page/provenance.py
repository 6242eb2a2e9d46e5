"""Which commands and versions produced the runs, as far as the runs recorded it."""

from __future__ import annotations

import platform
import re
from importlib.metadata import version

import pandas as pd

import ssl_rot
from ssl_rot.report.page.run_tables import count_values
from ssl_rot.tracking import Tag


def count_commands(runs: pd.DataFrame) -> list[tuple[str, int]]:
    """The commands, and how many downstream runs came from each."""
    columns = [f"tags.{tag}" for tag in (Tag.PHASE, Tag.COMMAND, Tag.PARENT_RUN_ID)]
    phase, command, parent = (runs.reindex(columns=columns)[c] for c in columns)
    # The command of a sweep is recorded in its parent run.
    of_parent = parent.map(dict(zip(runs["run_id"], command, strict=True)))
    known = command.fillna(of_parent)[phase == "downstream"].dropna()
    path = re.compile(r"^('[^']*run\.py'|\S*run\.py)(?=\s|$)")  # of the executed file
    return count_values(path.sub("python -m ssl_rot.run", line) for line in known)


def list_versions(runs: pd.DataFrame) -> list[tuple[str, list[tuple[str, int]]]]:
    """The versions that the runs used, with the number of runs, and those that this report used."""
    names = {
        "tags.ssl_rot.version": "ssl_rot (runs)",
        "tags.mlflow.source.git.commit": "commit (runs)",
    }
    versions = map(str, runs.filter(like="tags.version."))
    names |= {column: column.removeprefix("tags.version.") + " (runs)" for column in versions}
    of_runs = [(name, count_values(runs[c].dropna())) for c, name in names.items() if c in runs]
    own = {"ssl_rot": ssl_rot.__version__, "Python": platform.python_version()}
    own |= {name: version(name) for name in ("mlflow", "pandas", "scipy", "matplotlib")}
    line = ", ".join(f"{name} {number}" for name, number in own.items())
    return [*of_runs, ("this report", [(line, 1)])]
