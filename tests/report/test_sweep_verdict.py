"""What a sweep over several arms leaves on its own run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from mlflow import MlflowClient

from ssl_rot.report.sweep_verdict import conclude_sweep
from ssl_rot.sweep.verdict import record_verdict
from ssl_rot.tracking import Tag, Tracker


@pytest.fixture
def parent(runs, store_uri: str, tmp_path: Path, monkeypatch):
    """The log of a sweep's run, open in a store."""
    monkeypatch.chdir(tmp_path)
    with Tracker("ssl_rot", store_uri).start(
        "sweep", tmp_path / "multirun", {Tag.PHASE: "sweep", Tag.CONFIG_KEY: "k"}, {}
    ) as log:
        yield log


def test_the_page_the_numbers_and_a_table_are_on_the_sweeps_run(
    runs, parent, store_uri: str, capsys
) -> None:
    runs.arms([0.1, 0.12, 0.11])
    runs.arms([0.0, 0.01, -0.01], dataset__labels_per_class="100")
    runs.write(store_uri, parent=parent.run_id)
    record_verdict(parent, store_uri, None)
    parent.send()
    printed = capsys.readouterr().out
    assert printed.startswith("\nWith 5 labels per class, use rotation; with 100 labels per class,")
    client = MlflowClient(store_uri)
    stored = client.get_run(parent.run_id)
    metrics = stored.data.metrics
    assert metrics["verdict/labels_per_class_5/difference"] == pytest.approx(0.11)
    assert metrics["verdict/labels_per_class_5/arm_mean"] == pytest.approx(0.61)
    assert {"low", "high", "n"} <= {
        name.rpartition("/")[2] for name in metrics if "labels_per_class_100" in name
    }
    names = {file.path for file in client.list_artifacts(parent.run_id)}
    assert "verdict.csv" in names
    assert "report/report.html" in {f.path for f in client.list_artifacts(parent.run_id, "report")}
    table = pd.read_csv(parent.record.folder / "verdict.csv")
    assert table["verdict"].tolist() == ["better", "undecided"]


def test_only_the_sweeps_own_runs_count(runs, parent, store_uri: str, tmp_path: Path) -> None:
    runs.arms([0.1, 0.12, 0.11])
    runs.write(store_uri)
    assert conclude_sweep(store_uri, parent.run_id, tmp_path / "out") is None
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("found", [5, 6])
def test_jobs_that_finished_under_another_parent_count(
    runs, parent, store_uri: str, found: int
) -> None:
    """A resumed sweep found them, and trained the others itself."""
    runs.arms([0.1, 0.12, 0.11])
    runs.write(store_uri)
    client = MlflowClient(store_uri)
    stored = client.search_runs(["1"], f"tags.`{Tag.PHASE}` = 'downstream'")
    jobs = [run.info.run_id for run in stored]
    for own in jobs[found:]:
        client.set_tag(own, Tag.PARENT_RUN_ID, parent.run_id)
    finished = [SimpleNamespace(finished=SimpleNamespace(run_id=job)) for job in jobs[:found]]
    plan = SimpleNamespace(jobs=[*finished, SimpleNamespace(finished=None)], compares_arms=True)
    record_verdict(parent, store_uri, plan)  # type: ignore[arg-type]
    table = pd.read_csv(parent.record.folder / "verdict.csv")
    assert table["n"].tolist() == [3]
    page = (parent.record.folder / "report" / "report.html").read_text()
    assert "attributes.run_id IN" in page


def test_a_sweep_of_one_arm_has_no_verdict(runs, parent, store_uri: str, capsys) -> None:
    runs.downstream("rotation", 0, 0.5)
    runs.write(store_uri, parent=parent.run_id)
    record_verdict(parent, store_uri, None)
    assert capsys.readouterr().out == ""


def test_a_report_that_fails_is_a_warning(
    runs, parent, store_uri: str, caplog, monkeypatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no fonts")

    monkeypatch.setattr("ssl_rot.report.sweep_verdict.write_report", fail)
    runs.arms([0.1, 0.12, 0.11])
    runs.write(store_uri, parent=parent.run_id)
    record_verdict(parent, store_uri, None)
    assert "its report could not be made (RuntimeError: no fonts)" in caplog.text
