"""A sweep: one parent, a plan, shared pre-training, failures that affect no other job, resume."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sqlite3
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import closing
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from statistics import fmean

import mlflow
import pandas as pd
import pytest
from omegaconf import OmegaConf

from tests.warm import Process

TINY = (
    *("dataset.image_size=8", "dataset.train_size=96", "model.widths=[8,16]", "model.blocks=[1,1]"),
    "dataset.augment.crop_padding=0",
    *("schedule.epochs=2", "schedule.batch_size=16", "pretext.schedule.epochs=1", "floors=false"),
)
PARENT = "mlflow.parentRunId"


@pytest.fixture
def sweep(call_main, make_store, tmp_path):
    """``sweep("seed=0,1")``: a tiny sweep in this process; exit status and output."""
    make_store(tmp_path)
    return lambda *args: call_main("--multirun", *TINY, *args)


@pytest.fixture
def runs(tmp_path, all_runs):
    """The runs of a phase in the sweep's store, the oldest first."""

    def of(phase):
        found = all_runs(f"sqlite:///{tmp_path}/mlflow.db")
        of_phase = [run for run in found if run.data.tags["ssl_rot.phase"] == phase]
        return sorted(of_phase, key=lambda run: run.info.start_time)

    return of


def results(runs) -> dict[str, list[tuple]]:
    """Every metric point of the downstream runs but for times, by config key."""
    client = mlflow.MlflowClient()
    return {
        run.data.tags["ssl_rot.config_key"]: sorted(
            (name, point.step, point.value)
            for name in run.data.metrics
            if "seconds" not in name and "per_second" not in name
            for point in client.get_metric_history(run.info.run_id, name)
        )
        for run in runs("downstream")
        if run.info.status == "FINISHED"
    }


def test_twelve_jobs_share_one_pretraining_and_one_parent(sweep, runs, tmp_path):
    status, output = sweep(
        "+experiment=rotation,supervised",
        "dataset.labels_per_class=1,2,3",
        "freeze=none,backbone",
    )
    assert status == 0
    plan = "Sweep of 12 jobs.\nPre-trained backbones needed: 1.\nLabeled images: 10, 20, 30."
    assert plan in output
    assert "12 of 12 jobs finished" in output
    (parent,) = runs("sweep")
    assert parent.info.status == "FINISHED"
    assert "python -m ssl_rot.run --multirun" in parent.data.tags["ssl_rot.command"]
    assert "dataset.labels_per_class=1,2,3" in parent.data.params["overrides"]
    assert len(runs("pretext")) == 1
    assert len(runs("downstream")) == 12
    children = runs("pretext") + runs("downstream")
    assert {run.data.tags[PARENT] for run in children} == {parent.info.run_id}
    assert {run.info.experiment_id for run in children} == {parent.info.experiment_id}
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    for run in runs("downstream"):
        points = client.get_metric_history(run.info.run_id, "test_acc")
        assert [point.step for point in points] == [1, 2]
    table = Path(client.download_artifacts(parent.info.run_id, "jobs.csv")).read_text()
    assert table.count("FINISHED") == 12


def test_duplicate_jobs_run_once(sweep, runs):
    status, output = sweep("+experiment=supervised", "pretext.schedule.lr=0.1,0.2,0.3")
    assert status == 0
    assert "Sweep of 3 jobs, 2 of them duplicates that are not trained again." in output
    assert len(runs("downstream")) == 1
    assert "3 of 3 jobs finished" in output


def test_duplicate_jobs_run_once_also_in_different_batches(sweep, runs):
    args = ("pretext.schedule.lr=0.1,0.2", "hydra.sweeper.max_batch_size=1")
    status, output = sweep("+experiment=supervised", *args)
    assert status == 0
    assert len(runs("downstream")) == 1
    assert "2 of 2 jobs finished" in output


def test_a_sweep_without_jobs_is_refused(sweep, runs):
    status, output = sweep("+experiment=glob(rotatoin*)", "seed=range(0)", "pretext=none")
    assert status == 2
    assert "+experiment=glob(rotatoin*) has no value, so the sweep has no job" in output
    assert "seed=range(0) has no value" in output
    assert not runs("sweep")


def test_a_job_whose_process_cannot_be_started_or_work_affects_no_other(
    sweep, runs, tmp_path, monkeypatch
):
    start = ForkServerProcess._Popen
    failures = iter([EOFError("no fork"), None, None])

    def start_some(process):
        if (failure := next(failures)) is not None:
            raise failure
        return start(process)

    monkeypatch.setattr(ForkServerProcess, "_Popen", staticmethod(start_some))
    (tmp_path / "here" / "1").mkdir(parents=True)
    (tmp_path / "here" / "1" / ".hydra").touch()  # job 1 cannot start, nor say so on a full disk
    (tmp_path / "here" / "1" / "output.txt").symlink_to("/dev/full")
    status, output = sweep("+experiment=supervised", "seed=0,1,2", "hydra.sweep.dir=here")
    assert status == 1
    assert "1 of 3 jobs finished" in output
    assert "job 0: its process could not be started: EOFError: no fork" in output
    assert "job 1: FileExistsError: " in output
    assert [run.data.tags["ssl_rot.job"] for run in runs("downstream")] == ["2"]


def test_the_faults_of_all_jobs_are_reported_before_the_first_job(sweep, runs):
    status, output = sweep("seed=0,1", "schedule.lr=0.1,-1", "dataset.labels_per_class=2,5000")
    assert status == 2
    assert "schedule.lr=-1 is not allowed" in output
    assert "[jobs 2, 3, 6, 7]" in output
    assert output.count("dataset.labels_per_class=5000") == 1
    assert "Traceback" not in output
    assert not runs("downstream")
    assert not runs("sweep")


def test_a_failed_job_affects_no_other_and_resume_runs_it_alone(sweep, runs):
    # Far above what a step survives, but not out of range.
    args = ("+experiment=rotation,supervised", "schedule.lr=0.1,1e30")
    status, output = sweep(*args)
    assert status == 1
    assert "2 of 4 jobs finished" in output
    assert output.count("NonFiniteLoss") >= 2
    (parent,) = runs("sweep")
    assert parent.info.status == "FAILED"
    assert Counter(run.info.status for run in runs("downstream")) == {"FINISHED": 2, "FAILED": 2}
    before = {run.info.run_id: run.info.end_time for run in runs("downstream")}

    status, output = sweep(*args, "resume=true")
    assert status == 1
    assert "2 finished earlier, 2 to train" in output
    assert "Pre-trained backbones needed: 1, 1 of them already in MLflow." in output
    assert [run.info.run_id for run in runs("sweep")] == [parent.info.run_id]
    assert len(runs("pretext")) == 1
    for run in runs("downstream"):
        again = run.info.end_time != before[run.info.run_id]
        assert again == (run.info.status == "FAILED")


def test_a_sweep_within_a_job_that_slurm_queues_again_resumes_by_itself(sweep, runs, monkeypatch):
    args = ("+experiment=supervised", "schedule.lr=0.1,1e30")
    assert sweep(*args)[0] == 1
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    status, output = sweep(*args)
    assert status == 1
    assert "1 finished earlier, 1 to train" in output
    assert len(runs("sweep")) == 1
    assert len(runs("downstream")) == 2


def test_resumed_in_another_order_no_job_takes_the_result_of_another(sweep, tmp_path):
    """Job 1 diverges in one order, job 2 in the other."""
    labels, lr = "dataset.labels_per_class=2,3", "schedule.lr=0.1,1e30"
    args = ("+experiment=supervised", "hydra/launcher=basic")
    assert sweep(*args, labels, lr)[0] == 1
    status, output = sweep(*args, lr, labels, "resume=true")
    assert status == 1
    assert "2 of 4 jobs finished" in output
    table = pd.read_csv(max(tmp_path.rglob("jobs.csv"), key=os.path.getmtime))
    diverged = table["overrides"].str.contains("schedule.lr=1e+30", regex=False)
    assert (table["status"] == "FAILED").tolist() == diverged.tolist()


def test_resuming_a_finished_sweep_trains_nothing(sweep, runs):
    args = ("+experiment=rotation,supervised", "seed=0,1")
    assert sweep(*args)[0] == 0
    before = len(runs("downstream")), len(runs("pretext"))
    status, output = sweep(*args, "resume=true")
    assert status == 0
    assert "4 finished earlier, 0 to train" in output
    assert "4 of 4 jobs finished" in output
    assert (len(runs("downstream")), len(runs("pretext"))) == before


def test_a_sweep_kept_in_a_file_needs_no_flag(call_main, make_store, tmp_path, runs):
    make_store(tmp_path)
    status, output = call_main("+sweep=label_efficiency", *TINY, "dataset.train_size=250", "seed=0")
    assert status == 0
    assert "Sweep of 8 jobs.\nPre-trained backbones needed: 1." in output
    (parent,) = runs("sweep")
    assert parent.data.params["sweeper.params.experiment"] == "rotation,supervised"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["dataset.val_fraction=0"], "dataset.val_fraction=0 leaves the sweeper only the test set"),
        (["seed=0,1"], "seed=0,1 is not allowed with this sweeper"),
        (["pretext=none,rotation"], "pretext=none,rotation is not allowed with this sweeper"),
    ],
)
def test_a_search_may_use_neither_the_test_set_nor_the_seed(
    call_main, make_store, tmp_path, runs, args, message
):
    make_store(tmp_path)
    status, output = call_main("+experiment=optuna_lr", *TINY, *args)
    assert status == 2
    assert message in output
    assert not runs("sweep")


def test_optuna_tunes_on_the_validation_split_and_survives_a_failed_trial(
    call_main, make_store, tmp_path, runs
):
    make_store(tmp_path)
    args = ["+experiment=optuna_lr", *TINY, "hydra.sweeper.n_trials=6", "tune_seeds=1"]
    status, output = call_main(*args, "schedule.lr=choice(0.1,1e30)")
    assert status == 1  # a trial failed
    assert "The sweeper chooses the jobs as it goes" in output
    states = Counter(run.info.status for run in runs("downstream"))
    assert states.keys() == {"FINISHED", "FAILED"}
    assert sum(states.values()) == 6
    assert len(runs("pretext")) == 1
    finished = [run for run in runs("downstream") if run.info.status == "FINISHED"]
    assert f"{len(finished)} of 6 jobs finished" in output
    best = [run for run in finished if run.data.tags["ssl_rot.best"] == "true"]
    assert len(best) == 1
    top = max(run.data.metrics["val_acc"] for run in finished)
    assert best[0].data.metrics["val_acc"] == top
    assert "Tunes one arm, pretext=rotation, by its accuracy" in output
    assert "Best for rotation on the validation split: job" in output
    (parent,) = runs("sweep")
    assert {run.data.tags[PARENT] for run in finished} == {parent.info.run_id}


def test_a_trial_is_judged_by_its_mean_over_seeds(call_main, make_store, tmp_path, runs):
    make_store(tmp_path)
    args = ["+experiment=optuna_lr", *TINY, "hydra.sweeper.n_trials=3", "schedule.epochs=1"]
    status, output = call_main(*args, "tune_seeds=2", "seed=5", "pretext=none")
    assert status == 0, output
    assert "pretext=none, by its accuracy on the validation split (2 seeds)" in output
    accuracies, tests = defaultdict(dict), defaultdict(list)
    for run in runs("downstream"):
        job = int(run.data.tags["ssl_rot.job"])
        accuracies[job][run.data.params["seed"]] = run.data.metrics["val_acc"]
        tests[job].append(run.data.metrics["test_acc"])
    assert [sorted(seeds) for seeds in accuracies.values()] == [["5", "6"]] * 3
    means = {job: fmean(seeds.values()) for job, seeds in accuracies.items()}
    (file,) = tmp_path.glob("multirun/*/*/optimization_results.yaml")
    assert OmegaConf.load(file).best_value == pytest.approx(max(means.values()))
    best = {int(r.data.tags["ssl_rot.job"]) for r in runs("downstream")
            if r.data.tags["ssl_rot.best"] == "true"}  # fmt: skip
    assert len(best) == 1
    assert means[best.pop()] == max(means.values())
    table = pd.read_csv(next(tmp_path.glob("multirun/*/*/jobs.csv"))).set_index("job")
    assert table["val_acc"].to_dict() == pytest.approx(means)
    assert table["test_acc"].to_dict() == pytest.approx({j: fmean(t) for j, t in tests.items()})
    assert all("schedule.lr" in text and "seed" not in text for text in table["overrides"])


@pytest.mark.parametrize(
    ("phase", "key"), [("downstream", "schedule.lr"), ("pretext", "pretext.schedule.lr")]
)
def test_a_trial_with_a_seed_that_diverges_has_failed(call_main, make_store, tmp_path, phase, key):
    """With one weight decay, the second seed fails: in its run, or before it has one."""
    make_store(tmp_path)
    OmegaConf.register_new_resolver(
        "lr", lambda seed, decay: 1e30 if (seed, decay) == (1, 0.002) else 0.1, replace=True
    )
    args = ["+experiment=optuna_lr", *TINY, "hydra.sweeper.n_trials=4", "schedule.epochs=1"]
    args += ["hydra.sweeper.params=null", "schedule.weight_decay=choice(0.001,0.002)"]
    args += ["hydra/launcher=basic"]  # which knows the resolver
    args += ["tune_seeds=2", f"{key}='${{lr:${{seed}},${{schedule.weight_decay}}}}'"]
    status, output = call_main(*args)
    assert status == 1
    assert f"The {phase} loss is not finite" in output
    table = pd.read_csv(next(tmp_path.glob("multirun/*/*/jobs.csv")))
    fails = table["overrides"].str.contains("schedule.weight_decay=0.002")
    assert set(fails) == {True, False}
    assert (table["status"] == "FAILED").tolist() == fails.tolist()


def test_a_trial_that_fails_before_it_has_a_run_of_its_own_is_reported(
    call_main, make_store, tmp_path, runs
):
    make_store(tmp_path)
    args = ["+experiment=optuna_lr", *TINY, "hydra.sweeper.n_trials=4", "schedule.epochs=1"]
    args += ["tune_seeds=1"]
    args += ["hydra.sweeper.params=null", "schedule.weight_decay=interval(1e-5,1e-2)"]
    args += ["pretext.schedule.lr=choice(0.1,1e30)"]
    status, output = call_main(*args)
    assert status == 1
    failed = sum(run.info.status == "FAILED" for run in runs("pretext"))
    assert 0 < failed < 4
    assert f"{4 - failed} of 4 jobs finished" in output
    told = re.findall(r"(?m)^  job \d: NonFiniteLoss: The pretext loss is not finite", output)
    assert len(told) == failed
    (parent,) = runs("sweep")
    assert parent.info.status == "FAILED"
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    table = pd.read_csv(client.download_artifacts(parent.info.run_id, "jobs.csv"))
    assert list(table["job"]) == [0, 1, 2, 3]
    lost = table[table["status"] == "FAILED"]
    assert len(set(lost["overrides"])) == failed
    for overrides in lost["overrides"]:
        assert "pretext.schedule.lr=1e+30" in overrides
        assert "model.widths" not in overrides

    # Resumed, it fails again and is reported once; old failures are forgotten.
    client.set_tag(parent.info.run_id, "ssl_rot.job_error.7", "stale")
    status, output = call_main(*args, "resume=true")
    assert status == 1
    assert [run.info.run_id for run in runs("sweep")] == [parent.info.run_id]
    assert f"{4 - failed} of 4 jobs finished" in output
    assert "stale" not in output


@pytest.fixture
def start(start_python, tmp_path) -> Callable[..., Process]:
    """Starts a tiny run, or a sweep of them: ``start("--multirun", "seed=0,1")``."""

    def begin(*args: str) -> Process:
        # Hydra wants all overrides next to each other.
        flags = [arg for arg in args if arg.startswith("--")]
        overrides = [arg for arg in args if not arg.startswith("--")]
        process: Process = start_python(
            "-m", "ssl_rot.run", *flags, *TINY, *overrides, cwd=tmp_path
        )
        return process

    return begin


def wait_for(tmp_path: Path, phase: str, status: str, count: int = 1) -> None:
    """Waits until ``count`` runs of a phase have a status."""
    query = (
        "select count(*) from runs r join tags t on t.run_uuid = r.run_uuid "
        "where t.key = 'ssl_rot.phase' and t.value = ? and r.status = ?"
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
            if database.execute(query, (phase, status)).fetchone()[0] >= count:
                return
        time.sleep(0.05)
    raise AssertionError(f"there was no {status} {phase} run")


@pytest.mark.slow
def test_ctrl_c_keeps_finished_jobs_and_resume_runs_the_remaining_ones(
    sweep, start, call_main, make_store, tmp_path, tmp_path_factory, monkeypatch, all_runs, runs
):
    args = (
        "+experiment=rotation,supervised",
        "schedule.epochs=100",
        "dataset.labels_per_class=2,3",
    )
    make_store(tmp_path)
    process = start("--multirun", *args)
    # Jobs run in pairs of equal length. When one has finished, the other is about to, so only a
    # job of the second pair is sure to be interrupted.
    wait_for(tmp_path, "downstream", "FINISHED", count=2)
    wait_for(tmp_path, "downstream", "RUNNING")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert "resume=true" in output
    assert "Traceback" not in output
    states = Counter(run.info.status for run in runs("downstream"))
    assert states["FINISHED"] >= 2
    assert states["KILLED"] >= 1, states
    assert [run.info.status for run in runs("sweep")] == ["KILLED"]
    finished = {
        r.info.run_id: r.info.end_time for r in runs("downstream") if r.info.status == "FINISHED"
    }

    assert sweep(*args, "resume=true")[0] == 0
    assert [run.info.status for run in runs("sweep")] == ["FINISHED"]
    assert len(runs("downstream")) == 4
    for run in runs("downstream"):
        assert run.info.status == "FINISHED"
        assert finished.get(run.info.run_id, run.info.end_time) == run.info.end_time
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    resumed = results(runs)

    other = tmp_path_factory.mktemp("uninterrupted")
    uri = make_store(other)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert call_main("--multirun", *TINY, *args)[0] == 0
    whole = all_runs(uri)
    assert resumed == results(
        lambda phase: [run for run in whole if run.data.tags["ssl_rot.phase"] == phase]
    )


@pytest.mark.slow
def test_if_the_process_that_trains_a_shared_pretext_dies_a_waiting_one_takes_over(
    start, make_store, tmp_path, runs
):
    make_store(tmp_path)
    # Long epochs, so that the first process is stopped while it trains, not while it writes.
    long = ("dataset.train_size=1000", "pretext.schedule.batch_size=8", "pretext.schedule.epochs=8")
    args = ("+experiment=rotation", *long)
    first = start(*args)
    deadline = time.monotonic() + 200
    while not [*tmp_path.rglob("pretext/history.csv")]:
        assert time.monotonic() < deadline, "the first process did not train"
        time.sleep(0.05)
    time.sleep(0.2)
    os.killpg(first.pid, signal.SIGSTOP)  # it keeps the lock until the second one waits
    second = start(*args, "dataset.labels_per_class=2")
    while "Waiting for another process" not in "".join(
        path.read_text() for path in tmp_path.rglob("run.log")
    ):
        assert time.monotonic() < deadline, "the second process did not wait"
        time.sleep(0.1)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    output, _ = second.communicate(timeout=200)
    assert second.returncode == 0, output
    pretexts = runs("pretext")
    assert [run.info.status for run in pretexts][-1] == "FINISHED"
    (downstream,) = runs("downstream")
    assert downstream.data.tags["ssl_rot.pretext_run_id"] == pretexts[-1].info.run_id

    # The first one, resumed, reuses what the second has trained, and nothing is trained again.
    ended = pretexts[-1].info.end_time
    again = start(*args, "resume=true")
    output, _ = again.communicate(timeout=200)
    assert again.returncode == 0, output
    assert [run.info.status for run in runs("downstream")] == ["FINISHED"] * 2
    assert [run.info.status for run in runs("pretext")] == ["KILLED", "FINISHED"]
    assert runs("pretext")[-1].info.end_time == ended


def test_descriptions_say_what_came_out_and_how_to_make_it_again(sweep, call_main, runs):
    basic = ("hydra/launcher=basic", "+experiment=rotation,supervised", "seed=3")
    assert sweep(*basic, "freeze=none,backbone")[0] == 0
    (parent,) = runs("sweep")
    note = parent.data.tags["mlflow.note.content"]
    verdict, jobs, plan = (note.index(f"### {part}") for part in ("Verdict", "Jobs", "Plan"))
    assert verdict < jobs < plan
    assert "report.html" in note[verdict:jobs]
    assert "4 of 4 jobs finished" in note[jobs:plan]
    assert note[jobs:plan].count("| FINISHED |") == 4
    assert "Pre-trained backbones needed: 1" in note[plan:]
    assert "freeze=none,backbone" in note[plan:]
    # The command of a job's run is that of a single run, which comes to the same.
    before = runs("downstream")
    words = shlex.split(before[0].data.tags["mlflow.note.content"].split("```")[1])
    assert words[:3] == ["python", "-m", "ssl_rot.run"]
    assert call_main(*words[3:])[0] == 0
    again = runs("downstream")[-1].data
    assert "mlflow.parentRunId" not in again.tags
    assert again.tags["ssl_rot.config_key"] == before[0].data.tags["ssl_rot.config_key"]
    assert again.metrics["test_acc"] == before[0].data.metrics["test_acc"]
