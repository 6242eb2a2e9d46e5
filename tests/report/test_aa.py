"""A/A tests: a comparison of an arm with itself must not find a difference."""

from __future__ import annotations

import ast
import re
import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ssl_rot.report import compare, load_histories, load_runs, pair_runs


@pytest.fixture(scope="module")
def supervised(start_python, tmp_path_factory) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Ten real, tiny supervised-only runs that differ in nothing but the seed."""
    folder = tmp_path_factory.mktemp("aa")
    seeds = ",".join(map(str, range(10)))
    command = ["-m", "ssl_rot.run", "--multirun", "+experiment=supervised", f"seed={seeds}"]
    command += ["dataset.labels_per_class=5", "schedule.epochs=6", "device=cpu"]
    process = start_python(*command, cwd=folder)
    output, _ = process.communicate(timeout=500)
    assert process.returncode == 0, output
    runs = load_runs(uri=f"sqlite:///{folder}/mlflow.db")
    return runs, load_histories(runs)


def relabel(runs: pd.DataFrame, arm: pd.Series, seed: pd.Series) -> pd.DataFrame:
    """The runs with other labels: some are called rotation, and they are paired by ``seed``."""
    downstream = runs["tags.ssl_rot.phase"] == "downstream"
    changed = runs[downstream].assign(
        **{"tags.ssl_rot.arm": arm, "params.seed": seed, "tags.ssl_rot.pair_key": seed}
    )
    return changed.reset_index(drop=True)


@pytest.mark.slow
def test_supervised_against_other_seeds_of_itself(supervised) -> None:
    runs, histories = supervised
    number = runs["params.seed"].astype(float)
    arm = pd.Series(np.where(number < 5, "rotation", "supervised"), index=runs.index)
    pairs = pair_runs(relabel(runs, arm, (number % 5).astype(str)), histories)
    (cell,) = compare(pairs).to_dict("records")
    assert cell["n"] == 5
    assert cell["difference"] != 0  # real noise, not a run compared with its own copy
    assert cell["verdict"] in ("undecided", "equivalent")
    assert cell["low"] < 0 < cell["high"]


@pytest.mark.slow
def test_the_script_that_calls_real_runs_by_random_arms(
    supervised, checkout, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", supervised[0].attrs["uri"])
    script = str(checkout / "scripts" / "a_against_a.py")
    monkeypatch.setattr("sys.argv", [script, "ssl_rot", "--pages=8", "--pairs=5"])
    runpy.run_path(script, run_name="__main__")
    output = capsys.readouterr().out
    assert "10 runs, 10 seeds; 8 pages of 5 pairs" in output
    (counts,) = re.findall(r"verdicts: ({.*})", output)
    verdicts = ast.literal_eval(counts)
    assert sum(verdicts.values()) == 8
    assert verdicts.keys() <= {"undecided", "equivalent", "better", "worse"}
    (spread,) = re.findall(r"differences: \S+ ± ([\d.]+)", output)
    assert 0 < float(spread) < 0.2  # each page calls other runs rotation


@pytest.mark.slow
def test_supervised_against_its_own_copy(supervised) -> None:
    runs, histories = supervised
    copies = runs.assign(**{"run_id": "copy-" + runs["run_id"]})
    both = pd.concat([runs, copies], ignore_index=True)
    is_copy = both["run_id"].str.startswith("copy-")
    arm = pd.Series(np.where(is_copy, "rotation", "supervised"), index=both.index)
    pairs = pair_runs(relabel(both, arm, both["params.seed"]), histories)
    (cell,) = compare(pairs).to_dict("records")
    assert (cell["n"], cell["difference"], cell["p_holm"]) == (10, 0, 1)
    assert cell["verdict"] in ("undecided", "equivalent")


@pytest.mark.slow
def test_a_pretext_that_changes_no_weight(start_python, tmp_path: Path) -> None:
    """End to end, with a pretext learning rate so small that no weight moves."""
    command = ["-m", "ssl_rot.run", "--multirun", "+experiment=rotation,supervised"]
    command += ["seed=0,1,2", "dataset.labels_per_class=5", "schedule.epochs=80", "device=cpu"]
    command += ["pretext.schedule.epochs=1", "pretext.schedule.lr=1e-30"]
    for line in (command, ["-m", "ssl_rot.report"]):
        process = start_python(*line, cwd=tmp_path)
        output, _ = process.communicate(timeout=500)
        assert process.returncode == 0, output
    cells = pd.read_csv(tmp_path / "report" / "cells.csv")
    assert cells["verdict"].tolist() == ["equivalent"]  # of 360 images, none differs
    assert cells["pretext_images"][0] > 0
