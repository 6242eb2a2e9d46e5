"""Sweeps as a user starts them, and what they left in a store."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import Run

from tests.warm import CHECKOUT, Process

SWEEP = (
    *("dataset.image_size=8", "dataset.train_size=96", "model.widths=[8,16]", "model.blocks=[1,1]"),
    "dataset.augment.crop_padding=0",
    *("schedule.epochs=2", "schedule.batch_size=16", "pretext.schedule.epochs=1", "floors=false"),
    *("+experiment=rotation,supervised", "dataset.labels_per_class=2,3"),
)


@pytest.fixture(scope="session")
def start_multirun(start_python) -> Callable[..., Process]:
    """Starts any sweep, as a terminal does: it leads a process group of its own."""

    def start(folder: Path, *overrides: str, **environment: str) -> Process:
        paths = [CHECKOUT, *(path for path in sys.path if path)]
        command = ("-m", "ssl_rot.run", "--multirun", *overrides)
        process: Process = start_python(*command, cwd=folder, path=paths, **environment)
        return process

    return start


@pytest.fixture(scope="session")
def start_sweep(start_multirun) -> Callable[..., Process]:
    """Starts a sweep of four tiny jobs: ``start_sweep(folder, "resume=true", TMPDIR=...)``."""

    def start(folder: Path, *overrides: str, **environment: str) -> Process:
        process: Process = start_multirun(folder, *SWEEP, *overrides, **environment)
        return process

    return start


@pytest.fixture(scope="session")
def finish() -> Callable[..., str]:
    """Waits for a sweep; gives what it printed."""

    def end(process: Process, expect: int = 0) -> str:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == expect, output
        return output

    return end


def runs_in(uri: str, phase: str) -> list[Run]:
    client = mlflow.MlflowClient(uri)
    experiments = [e.experiment_id for e in client.search_experiments()]
    return client.search_runs(experiments, f"tags.`ssl_rot.phase` = '{phase}'")


@pytest.fixture(scope="session")
def runs_of_phase() -> Callable[[str, str], list[Run]]:
    """The runs of a phase in every experiment of a store."""
    return runs_in


@pytest.fixture(scope="session")
def results(points) -> Callable[[str], dict[str, list[tuple[str, int, float]]]]:
    """The points of what is finished, by config key, pretext runs included."""

    def found(uri: str) -> dict[str, list[tuple[str, int, float]]]:
        return {
            run.data.tags["ssl_rot.config_key"]: points(uri, run.info.run_id)
            for phase in ("pretext", "downstream")
            for run in runs_in(uri, phase)
            if run.info.status == "FINISHED"
        }

    return found


@pytest.fixture(scope="session")
def basic(make_once, start_sweep, finish, results) -> dict[str, list[tuple[str, int, float]]]:
    """The results of the sweep on Hydra's own launcher."""

    def fill(folder: Path) -> None:
        finish(start_sweep(folder, "hydra/launcher=basic"))
        (folder / "results.json").write_text(json.dumps(results(f"sqlite:///{folder}/mlflow.db")))

    read = json.loads((make_once("basic-sweep", fill) / "results.json").read_text())
    assert len(read) == 5
    return {key: [tuple(point) for point in points] for key, points in read.items()}
