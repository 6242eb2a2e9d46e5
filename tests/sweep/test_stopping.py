"""Sweeps and jobs that are asked to end: none loses the epoch that it is in."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Long epochs; no checkpoint but for the end.
LONG = (
    *("+experiment=supervised", "schedule.batch_size=1"),
    *("dataset.image_size=8", "model.widths=[4,8]", "model.blocks=[1,1]", "precision=fp32"),
    *("schedule.epochs=4", "checkpoint.every=100"),
)


def start(folder: Path, *overrides: str) -> subprocess.Popen[str]:
    """The sweep, as a terminal starts it: in the foreground, with a process group of its own."""
    paths = os.pathsep.join([str(ROOT), *(path for path in sys.path if path)])
    return subprocess.Popen(
        [sys.executable, "-m", "ssl_rot.run", "--multirun", *LONG, *overrides],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths, "SSL_ROT_SLOTS": "2"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def epochs(folder: Path) -> dict[Path, int]:
    """How many epochs each job has finished, by the folder of its run."""
    return {
        path.parent: len(path.read_text().splitlines()) - 1
        for path in folder.rglob("downstream/history.csv")
    }


def in_training(folder: Path, jobs: int) -> dict[Path, int]:
    """Waits until so many jobs are past their first epoch; how many each has finished."""
    deadline = time.monotonic() + 120
    while len(found := {run: n for run, n in epochs(folder).items() if n > 0}) < jobs:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def kept(run: Path) -> int:
    """The epoch of a run's latest checkpoint."""
    names = sorted(path.name for path in run.glob("checkpoints/epoch*.ckpt"))
    return int(names[-1][5:10]) if names else 0


@pytest.mark.slow
def test_slurms_warning_leaves_a_checkpoint_to_go_on_from(
    runs_of_phase, finish, make_store, tmp_path
):
    """As it comes to jobs that submitit has submitted, to one whose process is known."""
    uri = make_store(tmp_path)
    process = start(tmp_path, "hydra/launcher=parallel", "dataset.labels_per_class=20")
    in_training(tmp_path, 1)
    (lock,) = tmp_path.rglob(".workers/*.pid")
    os.kill(int(lock.stem.rpartition("-")[2]), signal.SIGUSR2)
    finish(process, expect=1)
    (run,) = runs_of_phase(uri, "downstream")
    assert run.info.status == "KILLED"
    assert "SIGUSR2" in run.data.tags["ssl_rot.error"]
    ((folder, done),) = epochs(tmp_path).items()
    assert kept(folder) == done < 4

    finish(start(tmp_path, "hydra/launcher=parallel", "dataset.labels_per_class=20", "resume=true"))
    (again,) = runs_of_phase(uri, "downstream")
    assert again.info.run_id == run.info.run_id
    assert again.info.status == "FINISHED"
    assert epochs(tmp_path) == {folder: 4}
