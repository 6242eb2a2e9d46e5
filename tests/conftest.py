"""What the tests share: composing configs, running jobs in this process or as a user would."""

from __future__ import annotations

import contextlib
import csv
import io
import logging
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
from filelock import FileLock
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hypothesis import settings
from mlflow.entities import Run
from omegaconf import DictConfig, open_dict
from safetensors.torch import load_file
from torch import Tensor

from ssl_rot.experiment import figures
from ssl_rot.run import main
from ssl_rot.run import run as run_stages
from tests.warm import Process, Starter

# How long an example takes is the machine's affair.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

CHECKOUT = Path(__file__).resolve().parent.parent

# A network and a budget that train in a blink; what a test is about it sets itself.
TINY = (
    *("dataset.image_size=8", "dataset.train_size=96", "dataset.labels_per_class=3"),
    *("schedule.epochs=2", "schedule.batch_size=16", "pretext.schedule.epochs=1", "floors=false"),
    "log_model=none",
    *("precision=fp32", "dataset.augment.crop_padding=0"),
)
# At least eight channels: with AVX2 alone, oneDNN corrupts memory in the backward pass of a strided
# 1x1 convolution of fewer (https://github.com/uxlfoundation/oneDNN/issues/6035).
TINY_MODEL = ("model.widths=[8,16]", "model.blocks=[1,1]")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slowest files first, so that no worker has one of them for the end."""
    seconds: Counter[Path] = Counter()
    for item in items:
        if (mark := item.get_closest_marker("slow")) is not None:
            seconds[item.path] += mark.args[0] if mark.args else 10
    items.sort(key=lambda item: -seconds[item.path])


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Small tensors, and tests side by side: more threads would only wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The user's own tracking store and image cache stay out of the tests."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SSL_ROT_CACHE", str(tmp_path / "image_cache"))


@pytest.fixture(autouse=True)
def _empty_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs in this process save empty figures: drawing them takes more than half of a tiny run.

    They are drawn for tests with the mark ``figures``, for session fixtures and in other processes.
    """
    if request.node.get_closest_marker("figures") is None:
        for name in [*vars(figures)]:
            if name.startswith("draw_"):
                monkeypatch.setattr(figures, name, _save_nothing)


def _save_nothing(*args: Any) -> Path:
    path: Path = args[-1]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


@pytest.fixture
def call_entry(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """The ``main`` of a command in this process: exit status, standard output and standard error.

    It saves the seconds of imports that a process of its own takes.
    """

    def call(main: Callable[[], None], *arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [main.__module__, *map(str, arguments)])
        capfd.readouterr()
        status = 0
        try:
            main()
        except SystemExit as stop:
            status = int(stop.code or 0)
        shown = capfd.readouterr()
        return status, shown.out, shown.err

    return call


@pytest.fixture(scope="session")
def checkout() -> Path:
    return CHECKOUT


def _compose(*overrides: str, config_name: str = "config") -> tuple[DictConfig, dict[str, str]]:
    with initialize_config_dir(version_base="1.3", config_dir=str(CHECKOUT / "conf")):
        cfg = hydra_compose(config_name, list(overrides), return_hydra_config=True)
    choices = {str(k): str(v) for k, v in cfg.hydra.runtime.choices.items()}
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg, choices


@pytest.fixture(scope="session")
def compose() -> Callable[..., DictConfig]:
    """The config of a command line: ``compose("+experiment=rotation", "seed=1")``."""
    return lambda *overrides, **kwargs: _compose(*overrides, **kwargs)[0]


@pytest.fixture(scope="session")
def choices() -> Callable[..., dict[str, str]]:
    """The option of each group that a command line comes to."""
    return lambda *overrides: _compose(*overrides)[1]


@pytest.fixture(scope="session")
def make_once(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str, Callable[[Path], None]], Path]:
    """A folder that the first worker of pytest-xdist fills, for all: ``make_once(name, fill)``."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def make(name: str, fill: Callable[[Path], None]) -> Path:
        folder = shared / f"once-{name}"
        with FileLock(shared / f"once-{name}.lock"):
            if not (folder / "done").exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed
                folder.mkdir()
                fill(folder)
                (folder / "done").touch()
        return folder

    return make


@pytest.fixture(scope="session")
def empty_database(make_once: Callable[..., Path]) -> Path:
    """An MLflow database without runs, to be copied: making its tables takes seconds."""

    def fill(folder: Path) -> None:
        mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db").search_experiments()

    return make_once("empty-database", fill) / "mlflow.db"


@pytest.fixture(scope="session")
def make_store(empty_database: Path) -> Callable[[Path], str]:
    """Puts an empty store into a folder, unless it has one; gives its URI."""

    def make(folder: Path) -> str:
        if not (folder / "mlflow.db").exists():
            shutil.copyfile(empty_database, folder / "mlflow.db")
        return f"sqlite:///{folder}/mlflow.db"

    return make


@dataclass(frozen=True)
class Ran:
    """A finished job and its record."""

    value: float
    output: str
    folder: Path
    client: mlflow.MlflowClient
    runs: dict[str, Run]
    """By phase, those that this job started."""

    def artifact(self, phase: str, name: str) -> Path:
        if phase in self.runs:
            run_id = self.runs[phase].info.run_id
        else:  # a pretext that was taken from another job
            run_id = self.runs["downstream"].data.tags["ssl_rot.pretext_run_id"]
        return Path(self.client.download_artifacts(run_id, name))

    def weights(self, phase: str) -> dict[str, Tensor]:
        return load_file(self.artifact(phase, "weights.safetensors"))

    def backbone(self, phase: str) -> dict[str, Tensor]:
        return {k: v for k, v in self.weights(phase).items() if k.startswith("backbone.")}

    def history(self, phase: str) -> list[dict[str, float]]:
        with self.artifact(phase, "history.csv").open() as file:
            return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def runs_of(uri: str) -> list[Run]:
    client = mlflow.MlflowClient(uri)
    return client.search_runs([e.experiment_id for e in client.search_experiments()])


@pytest.fixture(scope="session")
def all_runs() -> Callable[[str], list[Run]]:
    """Every MLflow run of a store, whatever its state."""
    return runs_of


@pytest.fixture(scope="session")
def run_job(make_store: Callable[[Path], str]) -> Callable[..., Ran]:
    """Runs a tiny job in this process: ``run_job(tmp_path, "+experiment=rotation")``.

    Jobs with the same folder share a tracking store. What one raises comes through.
    """
    numbers: dict[Path, int] = {}

    def job(folder: Path, *overrides: str) -> Ran:
        uri = make_store(folder)
        before = {run.info.run_id for run in runs_of(uri)}
        numbers[folder] = numbers.get(folder, 0) + 1
        other_model = any(override.startswith("model=") for override in overrides)
        tiny = TINY if other_model else TINY + TINY_MODEL
        cfg, choices = _compose(*tiny, f"tracking.uri={uri}", *overrides)
        output = io.StringIO()
        with contextlib.chdir(folder), contextlib.redirect_stdout(output):
            value = run_stages(cfg, choices, folder / f"job{numbers[folder]}")
        own = [run for run in runs_of(uri) if run.info.run_id not in before]
        phases = {run.data.tags["ssl_rot.phase"]: run for run in own}
        client = mlflow.MlflowClient(uri)
        return Ran(value, output.getvalue(), folder, client, phases)

    return job


@pytest.fixture(scope="session")
def rotation_run(run_job: Callable[..., Ran], tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """A finished rotation run with a validation split, for tests that only look."""
    folder = tmp_path_factory.mktemp("rotation")
    return run_job(folder, "+experiment=rotation", "dataset.val_fraction=0.1")


@pytest.fixture(scope="session")
def start_python() -> Iterator[Callable[..., Process]]:
    """Starts ``python -m ...`` and saves its imports: see :meth:`tests.warm.Starter.start`."""
    starter = Starter()
    yield starter.start
    starter.close()


@pytest.fixture
def run_cli(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs ``python -m ssl_rot.run`` as a user would, from an empty directory: all of it anew."""

    def cli(
        *args: str,
        expect: int = 0,
        cwd: Path = tmp_path,
        path: Path = CHECKOUT,
        module: tuple[str, ...] = ("-m", "ssl_rot.run"),
        **environment: str,
    ) -> subprocess.CompletedProcess[str]:
        env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(path), **environment}
        done = subprocess.run(
            [sys.executable, *module, *args],
            cwd=cwd,
            env=env,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == expect, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return cli


@pytest.fixture
def call_main(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., tuple[int, str]]]:
    """The command line in this process, since importing torch anew takes seconds.

    ``call_main("seed=-1")`` gives the exit status and everything that was printed.
    """
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def call(*args: str, cwd: Path | str = tmp_path) -> tuple[int, str]:
        monkeypatch.chdir(cwd)
        HydraConfig.instance().cfg = None  # that of an earlier call names another directory
        monkeypatch.setattr(sys, "argv", ["ssl-rot", *args])
        capfd.readouterr()
        status: Any = 0
        try:
            main()
        except SystemExit as stop:
            status = stop.code
        shown = capfd.readouterr()
        return status or 0, shown.out + shown.err

    yield call
    for handler in set(root.handlers) - set(handlers):  # Hydra's, one of them an open file
        handler.close()
    root.handlers[:], root.level = handlers, level


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Any]:
    """Writes a user's own Python module and imports it: ``own_module("mine", "x = 1")``."""

    def make(name: str, text: str) -> Any:
        folder = tmp_path / "own"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.py").write_text(text)
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.delitem(sys.modules, name, raising=False)
        return __import__(name)

    return make


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Finds a port that nobody uses, and that the system gives to no connection of another test."""

    def find() -> int:
        while True:
            port = random.SystemRandom().randrange(20_000, 32_000)
            with socket.socket() as probe, contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port

    return find


class Server:
    """``mlflow server`` on 127.0.0.1, over a SQLite database and artifacts in a folder."""

    def __init__(self, start: Callable[..., Process], port: int, folder: Path, store: str) -> None:
        self._start, self.port = start, port
        self.uri = f"http://127.0.0.1:{self.port}"
        self.folder, self.store = folder, store
        self.process: Process | None = None

    def start(self) -> None:
        where = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        keep = ["--backend-store-uri", self.store]
        keep += ["--artifacts-destination", str(self.folder / "artifacts")]
        self.process = self._start(
            *("-m", "mlflow", "server", *where, *keep),
            cwd=self.folder,
            MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",
        )
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"{self.uri}/health").close()
                return
            except OSError:
                assert self.process.poll() is None, self.process.output
                assert time.monotonic() < deadline, self.process.output
                time.sleep(0.1)

    def stop(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


@pytest.fixture
def make_server(
    start_python: Callable[..., Process], free_port: Callable[[], int]
) -> Iterator[Callable[[Path, str], Server]]:
    """Makes servers that have not been started: ``make_server(folder, store)``."""
    made: list[Server] = []

    def make(folder: Path, store: str) -> Server:
        folder.mkdir(exist_ok=True)
        made.append(Server(start_python, free_port(), folder, store))
        return made[-1]

    yield make
    for server in made:
        server.stop()


@pytest.fixture(scope="session")
def points() -> Callable[[str, str], list[tuple[str, int, float]]]:
    """Every point of every metric of a run but for times, doubled ones too: ``points(uri, id)``."""

    def found(uri: str, run_id: str) -> list[tuple[str, int, float]]:
        client = mlflow.MlflowClient(uri)
        return sorted(
            (name, point.step, point.value)
            for name in client.get_run(run_id).data.metrics
            if "second" not in name
            for point in client.get_metric_history(run_id, name)
        )

    return found
