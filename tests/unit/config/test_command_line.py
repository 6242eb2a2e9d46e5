"""The command line, before Hydra parses it."""

from __future__ import annotations

import pytest
from mlflow import MlflowClient

from ssl_rot.config.command_line import quote_name, starts_a_sweep

TINY = (
    *("dataset.image_size=8", "dataset.train_size=96", "model.widths=[4]", "model.blocks=[1]"),
    "schedule.epochs=1",
)


@pytest.mark.parametrize(
    "name", ["2024", "2024_01", "007", "1e3", "2024.10", "-1", ".5", "o'brien"]
)
def test_a_number_or_an_apostrophe_may_be_in_a_name(name):
    assert quote_name(f"name={name}", "name") == f'name="{name}"'


@pytest.mark.parametrize(
    "argument", ["name=first", "name=null", "name='2024'", "name=1,2", "name=", "seed=1", "--x"]
)
def test_nothing_else_is_quoted(argument):
    assert quote_name(argument, "name") == argument


@pytest.mark.parametrize("name", ["2024_01", "o'brien"])
@pytest.mark.parametrize("kind", [[], ["--multirun"]], ids=["run", "sweep"])
def test_an_experiment_may_have_any_name(call_main, make_store, all_runs, tmp_path, kind, name):
    uri = make_store(tmp_path)
    command = (*kind, f"tracking.experiment_name={name}", *TINY, "resume=true")
    for _ in range(2):  # the second time everything is found, and nothing trained
        status, output = call_main(*command)
        assert status == 0, output
    runs = all_runs(uri)
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert sum(run.data.tags["ssl_rot.phase"] == "downstream" for run in runs) == 1
    assert MlflowClient(uri).get_experiment_by_name(name) is not None


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["+sweep=label_efficiency", "seed=1"], True),
        (["+experiment=optuna_lr"], True),
        (["+experiment=rotation", "seed=0,1", "dataset=digits"], False),
        (["--config-dir={}", "+sweep=mine"], True),
        (["--config-dir", "{}", "+sweep=mine"], True),
        (["--config-dir", "{}", "+sweep=broken", f"+sweep={'a' * 300}"], False),
        (["+sweep=../mine", "+sweep=", "--multirun"], False),
    ],
)
def test_a_file_says_that_it_is_a_sweep(tmp_path, arguments, expected):
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "mine.yaml").write_text("# @package _global_\nhydra:\n  mode: MULTIRUN\n")
    (tmp_path / "sweep" / "broken.yaml").write_text("hydra: [")
    assert starts_a_sweep([argument.format(tmp_path) for argument in arguments]) == expected
