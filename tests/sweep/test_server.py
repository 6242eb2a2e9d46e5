"""A team's setup: a real MLflow server on a real PostgreSQL, with proxied artifacts."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def running(command: list[str], ready: Callable[[], object], **kwargs: object) -> Iterator[None]:
    """Runs a server; the block starts when it answers."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **kwargs)
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                ready()
                break
            except Exception:
                gone = process.poll() is not None or time.monotonic() > deadline
                assert not gone, process.stdout.read().decode()
                time.sleep(0.2)
        yield
    finally:
        process.terminate()
        process.wait(timeout=60)


@pytest.fixture
def postgres(free_port) -> Iterator[str]:
    """The URI of an empty database."""
    programs = [*Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    initdb = shutil.which("initdb") or next(map(str, programs), None)
    if initdb is None or importlib.util.find_spec("psycopg2") is None:
        pytest.skip("apt-get install postgresql; pip install psycopg2-binary")
    import psycopg2

    # Not in pytest's folder, which only its user may enter: PostgreSQL refuses to run as root.
    folder = Path(tempfile.mkdtemp())
    user = []
    if os.getuid() == 0:
        user = ["runuser", "-u", "postgres", "--"]
        shutil.chown(folder, "postgres")
    try:
        data, port = str(folder / "data"), free_port()
        make = [*user, initdb, "-D", data, "-A", "trust", "-U", "mlflow", "--no-sync"]
        subprocess.run(make, check=True, capture_output=True, cwd="/")
        where = ["-h", "127.0.0.1", "-p", str(port), "-k", str(folder)]
        serve = [*user, str(Path(initdb).with_name("postgres")), "-D", data, *where]
        uri = f"postgresql://mlflow@127.0.0.1:{port}/postgres"
        with running(serve, lambda: psycopg2.connect(uri).close(), cwd="/"):
            # The driver is named, since SQLAlchemy 2.1 has another default.
            yield uri.replace("postgresql:", "postgresql+psycopg2:")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def server(postgres, make_server, tmp_path) -> str:
    """The URI of an MLflow server that stores runs in PostgreSQL and artifacts in a folder."""
    there = make_server(tmp_path / "server", postgres)
    there.start()
    return there.uri


@pytest.mark.slow
def test_two_machines_that_share_only_a_server_share_one_pretraining(
    server, start_sweep, finish, runs_of_phase, results, basic, tmp_path
):
    """Both start at the same moment, without access to each other's files and locks."""
    first, second = tmp_path / "first", tmp_path / "second"
    uri = f"tracking.uri={server}"
    sweeps = []
    for folder, own in ((first, "freeze=none"), (second, "freeze=backbone")):
        folder.mkdir()
        sweeps.append(start_sweep(folder, uri, own, "hydra/launcher=parallel", TMPDIR=str(folder)))
    for sweep in sweeps:
        finish(sweep)
    assert not list(tmp_path.rglob("*.db"))
    (pretext,) = runs_of_phase(server, "pretext")
    downstream = runs_of_phase(server, "downstream")
    assert len(downstream) == 8
    assert {run.info.status for run in [pretext, *downstream]} == {"FINISHED"}
    parents = {run.info.run_id for run in runs_of_phase(server, "sweep")}
    assert len(parents) == 2
    assert {run.data.tags["mlflow.parentRunId"] for run in downstream} == parents
    assert results(server).items() >= basic.items()

    # A third one starts later, when the disks of the others are gone.
    for folder in (first, second):
        shutil.rmtree(folder)
    third = tmp_path / "third"
    third.mkdir()
    finish(start_sweep(third, uri, "loss=focal", TMPDIR=str(third)))
    (shown,) = third.glob("multirun/*/*/0/output.txt")
    assert f"Reusing the pretext weights of run {pretext.info.run_id}" in shown.read_text()
    assert len(runs_of_phase(server, "pretext")) == 1
