"""What goes away and comes back, when it does, and what is sent afterwards."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ssl_rot import sync
from ssl_rot.tracking import RunLog


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


@pytest.fixture
def at_epoch(monkeypatch):
    """Does something once, when an epoch is over, before MLflow hears of it."""

    def when(phase, number, action):
        original, done = RunLog.epoch, []

        def epoch(self, epoch, values):
            if (self.record.tags["ssl_rot.phase"], epoch) == (phase, number) and not done:
                done.append(action())
            original(self, epoch, values)

        monkeypatch.setattr(RunLog, "epoch", epoch)

    return when


@pytest.fixture
def call_sync(monkeypatch, call_entry, tmp_path):
    """The command of a message, in this process: exit status and output."""

    def call(command):
        words = shlex.split(command)
        assert words[:3] == ["python", "-m", "ssl_rot.sync"]
        monkeypatch.chdir(tmp_path)
        status, output, errors = call_entry(sync.main, *words[3:])
        return status, output + errors

    return call


@pytest.fixture(scope="session")
def sync_command() -> Callable[[str], str]:
    """The command that a message tells the user to type."""
    return lambda message: re.search(r"python -m ssl_rot\.sync .*", message)[0]
