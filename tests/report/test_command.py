"""`python -m ssl_rot.report`, from the outside."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from ssl_rot.report.__main__ import main


@dataclass
class Result:
    """The exit status and the output of a command."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def command(monkeypatch, call_entry) -> Callable[..., Result]:
    """Runs the command in a folder."""

    def run(folder: Path, *overrides: str) -> Result:
        monkeypatch.chdir(folder)
        return Result(*call_entry(main, *overrides))

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return run


@pytest.fixture(scope="module")
def _filled_store(new_runs, empty_database: Path, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("filled") / "mlflow.db"
    shutil.copy(empty_database, path)
    runs = new_runs()
    runs.arms([0.10, 0.12, 0.09, 0.11, 0.10])
    runs.arms([0.01, -0.02, 0.0], dataset__labels_per_class="20")
    runs.downstream("rotation", 9, 0.5)
    runs.write(f"sqlite:///{path}")
    return path


@pytest.fixture
def filled(_filled_store: Path, tmp_path: Path) -> Path:
    """A working directory with runs in `mlflow.db`."""
    shutil.copy(_filled_store, tmp_path / "mlflow.db")
    return tmp_path


def test_the_report_with_defaults(command, filled: Path) -> None:
    done = command(filled)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(
        "With 5 labels per class, use rotation; with 20 labels per class, these runs do not settle "
        "whether rotation helps. Rotation gains 10.4 points [9.0, 11.8] of test accuracy with 5 "
        "labels per class over 5 seeds."
    )
    assert "Not tuned: both arms at schedule.lr=0.05." in done.stdout
    assert "labels_per_class=5" in done.stdout
    assert "+10.4 points [+9.0, +11.8]" in done.stdout
    assert "1 x no partner: no supervised-only run with seed 9" in done.stdout
    out = filled / "report"
    assert {path.name for path in out.iterdir()} == {
        *("report.html", "report.md", "runs.csv", "pairs.csv", "cells.csv", "figures"),
    }
    cells = pd.read_csv(out / "cells.csv")
    assert list(cells["verdict"]) == ["better", "undecided"]
    assert len(pd.read_csv(out / "pairs.csv")) == 9
    assert len(pd.read_csv(out / "runs.csv")) == 8 + 8 + 8 + 1
    # Nothing except the report: no outputs/, no log.
    assert {path.name for path in filled.iterdir()} == {"mlflow.db", "report"}


def test_where_by_metric_and_out(command, filled: Path) -> None:
    done = command(
        filled,
        "by=[model,freeze]",
        "where=params.dataset = 'digits'",
        "metric=test_loss",
        "since=2023-01-01T18:00",
        "out=reports/mine",
    )
    assert done.returncode == 0, done.stderr
    page = (filled / "reports" / "mine" / "report.html").read_text()
    assert "by=[model,freeze]" in page
    cells = pd.read_csv(filled / "reports" / "mine" / "cells.csv")
    assert list(cells["cell"]) == ["model=resnet_tiny freeze=none"]
    assert (cells["n"][0], cells["pairs"][0], cells["metric"][0]) == (3, 6, "test_loss")
    assert "2 x its seed has no pair with labels_per_class=20" in done.stdout


@pytest.mark.parametrize(
    "where",
    [
        "where=params.dataset = 'digits'",
        'where=params.dataset = "digits"',
        "where=params.`dataset.labels_per_class` = '5' and metrics.test_acc > 0.1",
        "where='params.dataset = \"digits\"'",  # already quoted for Hydra by the user
    ],
)
def test_filters_need_no_extra_quotes_for_hydra(command, filled: Path, where: str) -> None:
    done = command(filled, where)
    assert done.returncode == 0, done.stderr
    assert "labels_per_class=5" in done.stdout


def test_a_report_without_a_single_pair_says_why(
    command, runs, store_uri: str, tmp_path: Path
) -> None:
    runs.downstream("rotation", 0, 0.6, schedule__lr="0.2")
    runs.downstream("supervised", 0, 0.5, schedule__lr="0.02")
    runs.write(store_uri)
    done = command(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Nothing could be compared." in done.stdout
    assert "differs in schedule.lr (0.2 against 0.02)" in done.stdout
    assert "schedule.lr (0.2 against 0.02)" in (tmp_path / "report" / "report.html").read_text()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["experiment_name=nope"], "There are: Default, ssl_rot"),
        (["metric=accuracy"], "metric=accuracy is not allowed; the runs have: test_acc"),
        (["by=[modle]"], "by=modle is not a key of these runs (did you mean model?)"),
        (["by=[]"], "by=[] is not allowed; it must be a list of config keys"),
        (["by=[[model]]"], "by=['model'] is not a key of these runs"),
        (["by=5"], "by=5 is not allowed; it must be a list of config keys"),
        (["experiment_name=2024"], "There is no experiment '2024'"),
        (["out=null"], "out=null is not allowed; it must be a string"),
        (["select=[modle]"], "select=modle is not a key of these runs (did you mean model?)"),
        (["select=[schedule.lr]"], "needs validation accuracies, and no run has one; add dataset."),
        (
            ["select=[]"],
            "select=[] is not allowed; it must be auto, a list of config keys, or null",
        ),
        (["select=5"], "select=5 is not allowed; it must be auto, a list of config keys"),
        (["margin=0"], "margin=0 is not allowed; it must be a number greater than 0"),
        (["margin=much"], "margin=much is not allowed; it must be a number greater than 0"),
        (["interval=wide"], "interval=wide is not allowed; it must be two_way or seeds"),
        (["planned_seeds=0"], "planned_seeds=0 is not allowed; it must be a whole number"),
        (["contrasts=some"], "contrasts=some is not allowed; it must be reference or all"),
        (["reference=rotation_2"], "none of the rotation_2 arm"),
        (["metric=balanced_acc"], "metric=balanced_acc is not allowed"),
        (["log=maybe"], "log=maybe is not allowed; it must be true or false"),
        (["metric=null", "where=null"], "metric=null is not allowed"),
        (["tracking.uri=5"], "tracking.uri=5 cannot be read"),
        (["tracking=null"], "tracking=null is not allowed; it must be a node with uri"),
        (["since=soon"], "since=soon is not a date"),
        (["where=nonsense"], "MLflow cannot read the filter"),
        (["tracking.uri=http://127.0.0.1:9"], "Is the server running, and is the address right?"),
        (["tracking.uri=sqlite:///elsewhere.db"], "elsewhere.db. Train something first"),
        (["out=mlflow.db/report"], "out=mlflow.db/report cannot be written"),
        (["log=true"], "log=true needs runs of one sweep; their parent runs are: none"),
    ],
)
def test_bad_input_is_one_message_and_status_2(
    command, filled: Path, overrides: list[str], message: str
) -> None:
    done = command(filled, *overrides)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert [path.name for path in filled.iterdir()] == ["mlflow.db"]


def test_no_database_at_all(command, tmp_path: Path) -> None:
    done = command(tmp_path)
    assert done.returncode == 2
    assert "There is no database" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_misspelled_key_is_refused(command, tmp_path: Path) -> None:
    done = command(tmp_path, "metrik=test_acc")
    assert done.returncode != 0
    assert "Could not override 'metrik'" in done.stderr


def test_output_that_nobody_reads_is_no_error(filled: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m ssl_rot.report | true; exit ${{PIPESTATUS[0]}}",
        cwd=filled, shell=True, executable="/bin/bash", capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert (filled / "report" / "report.html").exists()


def test_ctrl_c_ends_it_without_a_traceback(command, filled: Path, monkeypatch) -> None:
    def interrupt(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ssl_rot.report.load.runs.load_runs", interrupt)
    done = command(filled)
    assert (done.returncode, done.stderr) == (130, "")


def test_a_process_follows_the_tracking_uri_of_the_environment(
    filled: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "ssl_rot.report"],
        cwd=elsewhere,
        env=os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{filled}/mlflow.db"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "use rotation" in done.stdout
    assert (elsewhere / "report" / "report.html").exists()


def test_log_adds_the_report_to_the_artifacts_of_the_sweep(
    command, runs, store_uri: str, tmp_path: Path
) -> None:
    client = MlflowClient(store_uri)
    experiment = client.create_experiment("ssl_rot", str(tmp_path / "artifacts"))
    sweep = client.create_run(experiment, tags={"ssl_rot.phase": "sweep"}).info.run_id
    runs.arms([0.1, 0.12, 0.11])
    runs.write(store_uri, parent=sweep)
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "secret.txt").write_text("of the user")
    done = command(tmp_path, "log=true")
    assert done.returncode == 0, done.stderr
    logged = {artifact.path for artifact in client.list_artifacts(sweep, "report")}
    assert {"report/report.html", "report/cells.csv", "report/figures"} <= logged
    assert "report/secret.txt" not in logged  # only what the report wrote
    figures = {artifact.path for artifact in client.list_artifacts(sweep, "report/figures")}
    assert {"report/figures/forest.png", "report/figures/forest.svg"} <= figures
    # Now there are runs of two sweeps, and it is not clear which of them is meant.
    other = client.create_run(experiment, tags={"ssl_rot.phase": "sweep"}).info.run_id
    runs.arms([0.1, 0.12, 0.11], dataset__labels_per_class="1")
    del runs.made[:9]
    runs.write(store_uri, parent=other)
    done = command(tmp_path, "log=true")
    assert done.returncode == 2
    assert sweep in done.stderr
    assert other in done.stderr


def test_help_is_fast_and_lists_the_keys(tmp_path: Path) -> None:
    script = (
        "import sys, runpy; sys.argv = ['report', '--help']\n"
        "try: runpy.run_module('ssl_rot.report', run_name='__main__')\n"
        "finally: print(sorted({'torch', 'mlflow', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    for key in ("experiment_name", "metric", "by", "where", "since", "out", "tracking"):
        assert f"\n{key}:" in done.stdout
    assert done.stdout.rstrip().endswith("[]")


def test_importing_the_report_does_not_import_torch() -> None:
    script = (
        "import sys; from ssl_rot.report import compare, load_runs, pair_runs; "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "False", done.stderr
