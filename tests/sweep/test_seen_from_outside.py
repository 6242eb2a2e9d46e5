"""A sweep before it starts and while it runs: the dry run, and its status from another process."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
import torch

from ssl_rot.sweep import dry_run
from ssl_rot.sweep.__main__ import main
from ssl_rot.sweep.outline import Outline

TINY = (
    *("dataset.image_size=8", "dataset.train_size=96", "model.widths=[8,16]", "model.blocks=[1,1]"),
    *("schedule.epochs=2", "schedule.batch_size=16", "pretext.schedule.epochs=1", "seed=0"),
)
BOTH = ("+experiment=rotation,supervised", "dataset.labels_per_class=2,3")


@pytest.fixture
def status(call_entry):
    """``status("--watch")``: what the command prints, and its exit status."""

    def show(*args: str) -> tuple[str, int]:
        code, output, errors = call_entry(main, "status", *args)
        return output + errors, code

    return show


@pytest.mark.slow
def test_a_dry_run_starts_nothing_and_knows_what_is_finished(
    call_main, make_store, tmp_path, all_runs, status
):
    uri = make_store(tmp_path)
    code, output = call_main("--multirun", *TINY, *BOTH, "dry_run=true")
    assert code == 0
    assert "Sweep of 4 jobs.\nPre-trained backbones needed: 1." in output
    # 96 images in four rotations; 20 and 30 labels for two epochs, in both arms.
    assert "Images to process: 584, 384 of them in pre-training." in output
    assert "Pre-training #0: 384 images, to train, jobs 0, 1" in output
    assert "Training and evaluation take about" in output
    assert "dry_run=true: nothing was started" in output
    assert all_runs(uri) == []
    assert "holds no sweep" in status()[0]

    basic = "hydra/launcher=basic"
    assert call_main("--multirun", basic, *TINY, *BOTH)[0] == 0
    before = len(all_runs(uri))
    args = ("dataset.labels_per_class=2,3,4", BOTH[0], "dry_run=true", "resume=true")
    code, output = call_main("--multirun", basic, *TINY, *args)
    assert code == 0
    assert "4 finished earlier, 2 to train" in output
    assert "Pre-training #0: 384 images, in MLflow already, jobs 4" in output
    assert output.count("finished, run ") == 4
    assert len(all_runs(uri)) == before

    output, code = status()
    assert code == 0
    assert ": FINISHED\n4 of 4 jobs done\n" in output
    (parent,) = (run for run in all_runs(uri) if run.data.tags["ssl_rot.phase"] == "sweep")
    assert "4 of 4 jobs done" in status(parent.info.run_id)[0]


def test_a_single_run_has_a_plan_too(call_main, make_store, tmp_path, all_runs):
    uri = make_store(tmp_path)
    code, output = call_main(*TINY, "dataset.labels_per_class=2", "dry_run=true")
    assert code == 0
    assert "Sweep of 1 job.\nPre-trained backbones needed: 0." in output
    assert "Images to process: 40." in output
    assert "at once" not in output
    # At equal images, those of the pretext come on top.
    code, output = call_main(
        *TINY, "dataset.labels_per_class=2", "schedule.match_images=true", "dry_run=true"
    )
    assert "Images to process: 424." in output
    assert all_runs(uri) == []


def test_a_dry_run_measures_with_the_threads_of_a_job(call_main, make_store, tmp_path, monkeypatch):
    make_store(tmp_path)
    estimate, threads = dry_run.estimate_costs, []

    def measure(description):
        threads.append(torch.get_num_threads())
        return estimate(description)

    monkeypatch.setattr(dry_run, "estimate_costs", measure)
    before = torch.get_num_threads()
    slots = f"hydra.launcher.slots={len(os.sched_getaffinity(0))}"
    try:
        torch.set_num_threads(3)
        assert call_main(*TINY, "dry_run=true")[0] == 0
        assert call_main("--multirun", *TINY, *BOTH, slots, "dry_run=true")[0] == 0
    finally:
        torch.set_num_threads(before)
    assert threads == [3, 1]


@pytest.mark.slow
def test_the_status_of_a_sweep_that_runs_elsewhere(
    start_multirun, finish, make_store, tmp_path, status, monkeypatch
):
    make_store(tmp_path)
    args = ("hydra.launcher.slots=1", "+experiment=supervised", "dataset.labels_per_class=2,3")
    process = start_multirun(tmp_path, *TINY, *args, "schedule.epochs=30")
    monkeypatch.chdir(tmp_path)
    deadline = time.monotonic() + 120
    while not [*tmp_path.rglob("downstream/history.csv")]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    output, code = status()
    assert code == 0
    assert ": running\n0 of 2 jobs done, " in output
    assert "job 1    downstream  epoch" in output  # the longest first
    assert "2 of 2 jobs done" in status("--watch")[0]
    # The terminal of the sweep itself: lines, and nothing of what the jobs and Hydra say.
    output = finish(process)
    assert "1 of 2 jobs done, " in output
    assert "2 of 2 jobs done\n" in output
    assert "[HYDRA]" not in output
    assert "test accuracy" not in output
    (log,) = tmp_path.rglob("0/output.txt")
    assert "test accuracy" in log.read_text()


def test_help_is_fast_and_a_wrong_name_is_one_message(status, tmp_path, monkeypatch, run_cli):
    monkeypatch.chdir(tmp_path)
    message, code = status(str(tmp_path))
    assert (code, message) == (2, f"{tmp_path} is not the folder of a sweep: no sweep.json\n")
    code_line = "import sys, ssl_rot.sweep.__main__; sys.exit('torch' in sys.modules)"
    run_cli(module=("-c", code_line))


@pytest.mark.parametrize("place", [".", "gone"], ids=["the run is gone", "the database is gone"])
def test_a_look_at_an_old_sweep_makes_nothing(status, make_store, all_runs, tmp_path, place):
    uri = make_store(tmp_path).replace("mlflow.db", f"{place}/mlflow.db")
    Outline("5" * 32, uri, "e", [str(tmp_path)], str(tmp_path), []).save()
    output, code = status(str(tmp_path))
    assert code == 0
    assert "its process is gone; the same command with resume=true continues it" in output
    assert ("no longer there" in output) == (place == "gone")
    assert not (tmp_path / "gone").exists()


def test_a_status_that_nobody_reads_is_no_error(checkout, tmp_path):
    folder = str(tmp_path / "f\u00f6lder")
    Outline("5" * 32, f"sqlite:///{tmp_path}/gone.db", "e", [folder], folder, []).save()
    process = subprocess.Popen(
        [sys.executable, "-m", "ssl_rot.sweep", "status", folder],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(checkout), "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    process.stdout.close()
    shown = process.stderr.read()
    assert process.wait() == 0, shown
    assert "Traceback" not in shown
    assert "Exception ignored" not in shown
