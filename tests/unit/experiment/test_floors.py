"""Floors are measured once for a label subset, and fail no run."""

from __future__ import annotations

import pytest

from ssl_rot.experiment import floors


def floors_of(ran, all_runs):
    runs = all_runs(f"sqlite:///{ran.folder}/mlflow.db")
    return [run for run in runs if run.data.tags["ssl_rot.phase"] == "floor"]


def test_both_arms_share_a_floor_and_another_subset_has_its_own(run_job, all_runs, tmp_path):
    rotation = run_job(tmp_path, "+experiment=rotation", "floors=true")
    (floor,) = floors_of(rotation, all_runs)
    assert floor.info.status == "FINISHED"
    assert {"floor/knn_acc", "floor/linear_acc", "floor/images"} <= floor.data.metrics.keys()
    assert floor.data.metrics["floor/images"] == 30
    key = floor.data.tags["ssl_rot.floor_key"]
    assert rotation.runs["downstream"].data.tags["ssl_rot.floor_key"] == key
    assert "ssl_rot.floor_key" not in rotation.runs["pretext"].data.tags
    assert "ssl_rot.arm" not in floor.data.tags
    assert floor.data.params["dataset.labels_per_class"] == "3"
    assert "model" not in floor.data.params  # it has none
    nearest = f"nearest neighbor {floor.data.metrics['floor/knn_acc']:.4f}"
    assert nearest in rotation.output

    supervised = run_job(tmp_path, "+experiment=supervised", "schedule.lr=0.1", "floors=true")
    assert set(supervised.runs) == {"downstream"}
    assert supervised.runs["downstream"].data.tags["ssl_rot.floor_key"] == key
    assert nearest in supervised.output

    other = run_job(tmp_path, "+experiment=supervised", "seed=1", "floors=true")
    assert set(other.runs) == {"downstream", "floor"}
    held_out = run_job(tmp_path, "dataset.val_per_class=1", "floors=true")
    assert held_out.runs["floor"].data.metrics["floor/images"] == 20  # as many as the network's
    assert len(floors_of(rotation, all_runs)) == 3


def test_a_floor_that_cannot_be_measured_is_only_a_warning(
    run_job, all_runs, tmp_path, monkeypatch, caplog
):
    def fail(*args):
        raise MemoryError("too many pixels")

    monkeypatch.setattr(floors, "measure_floors", fail)
    ran = run_job(tmp_path, "+experiment=supervised", "floors=true")
    assert ran.runs["downstream"].info.status == "FINISHED"
    assert ran.runs["floor"].info.status == "FAILED"
    assert "The floors could not be measured: MemoryError: too many pixels" in caplog.text
    monkeypatch.undo()
    again = run_job(tmp_path, "+experiment=supervised", "floors=true")
    assert again.runs["floor"].info.status == "FINISHED"


@pytest.mark.parametrize("value", ["true", "false"])
def test_floors_change_no_result(run_job, tmp_path, value):
    plain = run_job(tmp_path, "+experiment=supervised")
    other = run_job(tmp_path, "+experiment=supervised", f"floors={value}")
    assert ("floor" in other.runs) == (value == "true")
    assert other.value == plain.value
    tags = [ran.runs["downstream"].data.tags["ssl_rot.config_key"] for ran in (plain, other)]
    assert tags[0] == tags[1]
