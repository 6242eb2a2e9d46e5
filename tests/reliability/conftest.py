"""A real MLflow server that goes away and comes back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def server(
    tmp_path: Path, make_store: Callable[[Path], str], make_server: Callable[[Path, str], Any]
) -> Any:
    """A server over a SQLite database that has not been started."""
    folder = tmp_path / "server"
    folder.mkdir()
    return make_server(folder, make_store(folder))


@pytest.fixture(scope="session")
def told(points: Callable[..., Any], all_runs: Callable[[str], Any]) -> Callable[[str], Any]:
    """What a store has of each phase: ``told(uri)``."""
    return lambda uri: {
        run.data.tags["ssl_rot.phase"]: points(uri, run.info.run_id) for run in all_runs(uri)
    }
