"""What a sweep shows while it runs, from folders as its jobs leave them."""

from __future__ import annotations

import io
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from ssl_rot.sweep.outline import Outline, OutlinedJob
from ssl_rot.sweep.progress import ProgressReader
from ssl_rot.sweep.screen import SweepView, describe
from ssl_rot.tracking import StoredRun

SWEEP = "5" * 32
KEY = "feed"


@pytest.fixture
def reader(tmp_path) -> ProgressReader:
    """Of a sweep of four jobs: two share a pre-training, one repeats another, one was finished."""
    jobs = [
        OutlinedJob(0, "labels=1", 1000, KEY, 4000, False, None),
        OutlinedJob(1, "labels=5", 5000, KEY, 4000, False, None),
        OutlinedJob(2, "labels=1 lr=2", 1000, None, 0, False, 0),
        OutlinedJob(3, "supervised", 1000, None, 0, True, None),
    ]
    outline = Outline(SWEEP, "sqlite:///x", "e", [str(tmp_path)], str(tmp_path), jobs)
    outline.save()
    assert Outline.load(tmp_path) == outline
    return ProgressReader(outline, tracker=None)


@pytest.fixture
def write(tmp_path):
    """Writes what a phase of a job leaves: its record, metrics, and lock while it runs.

    A floor's record has neither epochs nor a pretext in its params.
    """

    def phase(
        job: int, name: str, images: list[int], status: str | None = None, *, parent: str = SWEEP
    ) -> Path:
        folder = tmp_path / str(job) / name
        folder.mkdir(parents=True, exist_ok=True)
        tags = {"ssl_rot.phase": name, "ssl_rot.job": str(job), "mlflow.parentRunId": parent}
        tags |= {"ssl_rot.pretext_key": KEY}
        params = {"schedule.epochs": "10", "pretext.schedule.epochs": "4", "pretext.reuse": "true"}
        record = {"uri": "u", "experiment": "e", "name": "n", "start_time": 0, "tags": tags}
        record |= {
            "params": {} if name == "floor" else params,
            "status": status,
            "error": status and f"Why: {status}",
        }
        (folder / "run.json").write_text(json.dumps(record))
        now = time.time() * 1000
        rows = ["epoch,timestamp,test_acc,epoch_seconds,images_processed"]
        rows += [
            f"{i},{int(now - 1000 * (len(images) - i))},0.{i},1.0,{count}"
            for i, count in enumerate(images, 1)
        ]
        (folder / "history.csv").write_text("\n".join(rows) + "\n" + "99,17")  # a row being written
        lock = folder / "running.lock"
        lock.unlink(missing_ok=True) if status else lock.touch()
        return folder

    return phase


def test_jobs_images_and_time_left_are_counted(reader, write):
    before = reader.read()
    assert (before.total, before.done, before.images_left) == (4, 1, 4000 + 1000 + 5000)
    assert before.seconds_left is None  # no speed yet

    write(0, "pretext", [1000, 2000])
    write(9, "downstream", [77], parent="another sweep")
    write(0, "floor", [], "FINISHED")
    now = reader.read()
    assert (now.done, now.images, now.images_left) == (1, 2000, 2000 + 6000)
    assert now.seconds_left == pytest.approx(8000 / 1000, rel=0.1)  # 1,000 images a second
    (running,) = now.running
    assert (running.job, running.name, running.total, running.accuracy) == (0, "pretext", 4, 0.2)
    assert describe(now) == [
        "1 of 4 jobs done, 2.00k of 10.0k images, about 8 s left",
        "  job 0    pretext     epoch   3 of 4      test accuracy 0.2000",
    ]

    write(0, "pretext", [1000, 2000, 3000, 4000], "FINISHED")
    write(0, "downstream", [500, 1000], "FINISHED")  # stopped early
    write(1, "downstream", [2500])
    now = reader.read()
    assert now.done == 3  # job 2 repeats job 0
    assert now.images_left == 2500
    assert not now.is_over
    write(1, "downstream", [2500, 5000], "FINISHED")
    assert reader.read().is_over


def test_images_that_are_only_evaluated_take_time_too(tmp_path, write):
    jobs = [
        OutlinedJob(0, "labels=100", 1000, None, 0, False, None),
        OutlinedJob(1, "labels=1", 100, None, 0, False, None, evaluated=2700),
    ]
    outline = Outline(SWEEP, "sqlite:///x", "e", [str(tmp_path)], str(tmp_path), jobs)
    write(0, "downstream", [100 * i for i in range(1, 11)], "FINISHED")  # a second each
    now = ProgressReader(outline, tracker=None).read()
    assert now.images_left == 100
    assert now.seconds_left == pytest.approx((100 + 2700 / 3) / 100, rel=0.1)


def test_a_failure_is_told_with_its_reason_until_the_job_is_tried_again(reader, write):
    write(0, "pretext", [1000], "FAILED")
    now = reader.read()
    assert now.problems == {0: "Why: FAILED"}
    assert now.images_left == 4000 + 5000  # job 1 pre-trains instead
    assert describe(now)[1] == "Job 0 did not finish: Why: FAILED"
    write(0, "downstream", [])
    assert reader.read().problems == {}


def test_what_an_earlier_attempt_left_is_neither_running_nor_failed(reader, write, tmp_path):
    """A resumed sweep has the same run, and jobs that will be tried again."""
    outline = replace(Outline.load(tmp_path), started=int(time.time() * 1000))
    for number in (0, 1):
        path = write(number, "pretext", [1000], "KILLED") / "run.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"end_time": 1}))
    now = ProgressReader(outline, tracker=None).read()
    assert now.problems == {}
    assert now.images_left == 4000 + 1000 + 5000
    assert not now.is_over
    write(0, "pretext", [1000], "KILLED")  # in this attempt
    assert ProgressReader(outline, tracker=None).read().problems == {0: "Why: KILLED"}


def test_a_trial_with_several_seeds_is_done_after_the_last_one(reader, write, tmp_path):
    first, second = tmp_path / "0" / "seed0" / "downstream", tmp_path / "0" / "seed1" / "downstream"
    for folder, status in ((first, "FINISHED"), (second, None)):
        folder.parent.mkdir(parents=True)
        write(0, "downstream", [1000], status).rename(folder)
        assert reader.read().done == (3 if folder == first else 1)  # job 2 repeats job 0
    assert [phase.job for phase in reader.read().running] == [0]


def test_the_reason_for_a_lost_process_is_the_one_that_the_sweep_recorded(write, reader, tmp_path):
    write(0, "downstream", [500]).joinpath("running.lock").unlink()
    assert reader.read().problems == {0: "its process is gone"}
    killed = {"ssl_rot.job_error.0": "its process was killed (too little memory?)"}
    parent = StoredRun(SWEEP, "RUNNING", 0, {}, killed, {})
    store = SimpleNamespace(runs=SimpleNamespace(get=lambda run: parent, running=list))
    now = ProgressReader(Outline.load(tmp_path), store).read()  # type: ignore[arg-type]
    assert now.problems == {0: "its process was killed (too little memory?)"}


def test_damaged_metrics_are_none(reader, write):
    folder = write(0, "downstream", [500], "FINISHED")
    for content in (
        b"\xff\xfe\n\n",
        b"epoch,test_acc\n1,0.5\n",
        b"timestamp\n1\n2,3\n",
        b"\0\n\0\n",
    ):
        (folder / "history.csv").write_bytes(content)
        now = reader.read()
        assert (now.done, now.images) == (3, 0)


def test_a_sweep_that_was_killed_is_over_once_no_job_runs(reader, write, tmp_path):
    lock = tmp_path / "running.lock"
    lock.touch()
    folder = write(0, "pretext", [1000])
    assert not reader.read().is_over
    os.utime(lock, (1, 1))
    assert not reader.read().is_over
    os.utime(folder / "running.lock", (1, 1))
    assert reader.read().is_over
    lock.unlink()  # left to SLURM
    assert not reader.read().is_over


def test_a_moved_sweep_is_read_where_it_is(reader, write, tmp_path):
    write(0, "downstream", [1000], "FINISHED")
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    assert ProgressReader(Outline.load(moved), tracker=None).read().done == 3


def test_a_job_without_a_heartbeat_is_lost(reader, write):
    folder = write(1, "downstream", [2500])
    assert reader.read().problems == {}
    os.utime(folder / "running.lock", (1, 1))
    assert reader.read().problems == {1: "its process is gone"}
    (folder / "running.lock").unlink()
    assert reader.read().problems == {1: "its process is gone"}


def test_without_a_terminal_a_line_tells_that_a_job_has_ended(reader, write, monkeypatch):
    stream = io.StringIO()
    view = SweepView(reader, stream)
    monkeypatch.setattr("ssl_rot.sweep.screen._SECONDS", 0.01)
    view.start()
    write(0, "pretext", [1000, 2000, 3000, 4000], "FINISHED")
    write(0, "downstream", [1000])
    time.sleep(0.1)
    assert stream.getvalue() == ""
    write(0, "downstream", [1000], "FINISHED")
    deadline = time.monotonic() + 10
    while "3 of 4" not in stream.getvalue():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    write(1, "downstream", [2500], "FAILED")
    view.stop()
    first, *others = stream.getvalue().splitlines()
    assert first.startswith("3 of 4 jobs done, 5.00k of 10.0k images, about ")
    assert others == ["Job 1 did not finish: Why: FAILED", "3 of 4 jobs done, 1 failed"]


def test_a_silent_minute_is_broken(reader, write, monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr("ssl_rot.sweep.screen._SECONDS", 0.01)
    monkeypatch.setattr("ssl_rot.sweep.screen._SILENT_SECONDS", 0.05)
    view = SweepView(reader, stream)
    view.start()
    time.sleep(0.3)
    view.stop()
    assert 1 <= stream.getvalue().count("1 of 4 jobs done") <= 7


def test_looking_at_a_large_sweep_takes_little_of_a_core(reader, monkeypatch):
    looks, read = [], reader.read

    def read_slowly(**options):
        looks.append(time.thread_time())
        while time.thread_time() < looks[-1] + 0.02:
            pass
        return read(**options)

    monkeypatch.setattr(reader, "read", read_slowly)
    monkeypatch.setattr("ssl_rot.sweep.screen._SECONDS", 0.01)
    view = SweepView(reader, io.StringIO())
    view.start()
    time.sleep(0.4)
    view.stop()
    assert len(looks) <= 4
