"""A real MLflow server that goes away and comes back, and what a store holds."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import pytest


class Server:
    """``mlflow server`` on 127.0.0.1, over a SQLite database and artifacts in a folder."""

    def __init__(self, folder: Path, store: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.uri = f"http://127.0.0.1:{self.port}"
        self.folder, self.store = folder, store
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        where = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        keep = ["--backend-store-uri", self.store]
        keep += ["--artifacts-destination", str(self.folder / "artifacts")]
        with (self.folder / "server.log").open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *where, *keep],
                cwd=self.folder,
                env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"{self.uri}/health").close()
                return
            except OSError:
                assert self.process.poll() is None, (self.folder / "server.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.1)

    def stop(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


@pytest.fixture
def server(tmp_path: Path, make_store: Callable[[Path], str]) -> Iterator[Server]:
    """A server that has not been started."""
    folder = tmp_path / "server"
    folder.mkdir()
    there = Server(folder, make_store(folder))
    yield there
    there.stop()


@pytest.fixture(scope="session")
def points() -> Callable[[str], dict[str, list[tuple[str, int, float]]]]:
    """Every point of every metric but for times, by phase: ``points(uri)``, doubled ones too."""

    def found(uri: str) -> dict[str, list[tuple[str, int, float]]]:
        client = mlflow.MlflowClient(uri)
        experiments = [e.experiment_id for e in client.search_experiments()]
        return {
            run.data.tags["ssl_rot.phase"]: sorted(
                (name, point.step, point.value)
                for name in run.data.metrics
                if "second" not in name
                for point in client.get_metric_history(run.info.run_id, name)
            )
            for run in client.search_runs(experiments)
        }

    return found
