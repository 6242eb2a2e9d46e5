"""From runs to ``models:/digits@best``, and the models that runs and sweeps log by themselves."""

from __future__ import annotations

import re

import mlflow
import numpy as np
import pandas as pd
import pytest

from ssl_rot.data import digits
from ssl_rot.deploy import logged_model
from ssl_rot.report.__main__ import main as report_main
from tests.conftest import TINY, TINY_MODEL

SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def compared(run_job, tmp_path_factory):
    """A folder with three seeds of both arms, with a validation split."""
    folder = tmp_path_factory.mktemp("compared")
    ran = [
        run_job(folder, f"+experiment={arm}", f"seed={seed}", "dataset.val_per_class=1")
        for arm in ("rotation", "supervised")
        for seed in SEEDS
    ]
    return folder, {each.runs["downstream"].info.run_id: each for each in ran}


@pytest.fixture
def report(compared, monkeypatch, call_entry):
    def call(*overrides):
        monkeypatch.chdir(compared[0])
        status, output, errors = call_entry(report_main, *overrides)
        return status, output + errors

    return call


@pytest.fixture
def client(compared):
    return mlflow.MlflowClient(f"sqlite:///{compared[0]}/mlflow.db")


def test_an_undecided_verdict_registers_nothing(report, client):
    status, output = report("register=digits", "planned_seeds=5")
    assert status == 2
    assert "register=digits: nothing was registered, since the verdict is interim" in output
    assert client.search_registered_models() == []


@pytest.mark.parametrize("name", ["a/b", "a:b", "''", "it's"])
def test_a_name_that_mlflow_refuses_is_refused_before_anything_is_read(report, name):
    status, output = report(f'register="{name}"')
    assert status == 2
    assert "it must be a name without / : ' \" that is not empty" in output


def test_what_is_registered_predicts_as_its_run_did(compared, report, client, monkeypatch):
    folder, runs = compared
    for _ in range(2):  # each call makes a version
        status, output = report("register=digits", "register_anyway=true")
        assert status == 0, output
    assert "Registered models:/digits/2 as models:/digits@best: " in output
    version = client.get_model_version_by_alias("digits", "best")
    assert int(version.version) == 2
    ran = runs[version.run_id]
    best = max(
        (run for run in runs.values() if run.runs["downstream"].data.tags["ssl_rot.arm"]
         == version.tags["ssl_rot.arm"]),
        key=lambda run: run.history("downstream")[-1]["val_acc"],
    )  # fmt: skip
    assert ran.history("downstream")[-1]["val_acc"] == best.history("downstream")[-1]["val_acc"]
    assert version.tags.keys() == {
        f"ssl_rot.{name}"
        for name in (
            *("arm", "reference", "verdict", "metric", "difference", "interval", "n", "cell"),
            *("setting", "report"),
        )
    }
    assert version.tags["ssl_rot.report"].endswith("register=digits register_anyway=true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    monkeypatch.chdir(folder)
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    try:
        model = mlflow.pyfunc.load_model("models:/digits@best")
    finally:
        mlflow.set_tracking_uri(None)
    images = digits(8).test.images[:].permute(0, 2, 3, 1).numpy()
    own = pd.read_parquet(ran.artifact("downstream", "predictions.parquet"))
    assert np.array_equal(model.predict(images).max(1), own["probability"])
    # Both versions are of one logged model.
    experiment = ran.runs["downstream"].info.experiment_id
    assert len(client.search_logged_models([experiment])) == 1


@pytest.fixture
def models(tmp_path):
    """The logged models in a test's own store."""

    def of():
        client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
        ids = [experiment.experiment_id for experiment in client.search_experiments()]
        return client.search_logged_models(ids)

    return of


@pytest.mark.parametrize(("value", "count"), [("best", 1), ("all", 1), ("none", 0)])
def test_a_single_run_logs_its_model(run_job, tmp_path, models, value, count):
    ran = run_job(tmp_path, "+experiment=supervised", f"log_model={value}")
    found = models()
    assert len(found) == count
    if found:
        assert found[0].source_run_id == ran.runs["downstream"].info.run_id
        assert f"  model       models:/{found[0].model_id}\n" in ran.output


def test_a_finished_run_gets_its_model_on_resume_and_keeps_it(run_job, tmp_path, models):
    run_job(tmp_path, "+experiment=supervised", "log_model=none")
    for _ in range(2):
        resumed = run_job(tmp_path, "+experiment=supervised", "log_model=best", "resume=true")
        (found,) = models()
        assert f"  model       models:/{found.model_id}\n" in resumed.output


def test_a_model_that_cannot_be_logged_fails_no_run(run_job, tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError("the disk is full")

    monkeypatch.setattr(logged_model, "log_model", refuse)
    ran = run_job(tmp_path, "+experiment=supervised", "log_model=best")
    assert ran.runs["downstream"].info.status == "FINISHED"
    assert "no model was logged: OSError: the disk is full" in caplog.text


@pytest.mark.parametrize(
    ("options", "count", "said"),
    [
        (("log_model=best", "dataset.val_per_class=1"), 1, r"Model: models:/m-\w+, .*best of 2"),
        (("log_model=best",), 0, ""),  # a test accuracy chooses nothing
        (("log_model=all",), 4, ""),
        (("log_model=none", "dataset.val_per_class=1"), 0, ""),
    ],
)
def test_a_sweep_logs_the_model_of_its_best_setting_or_all(
    call_main, make_store, tmp_path, models, options, count, said
):
    make_store(tmp_path)
    tiny = [each for each in (*TINY, *TINY_MODEL) if not each.startswith("log_model")]
    status, output = call_main(
        *("--multirun", "hydra/launcher=basic", *tiny, "pretext=rotation,none", "seed=0,1"),
        *options,
    )
    assert status == 0, output
    found = models()
    assert len(found) == count
    assert re.search(said, output), output
    if said.startswith("Model"):
        assert f"models:/{found[0].model_id}" in output
