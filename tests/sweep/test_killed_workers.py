"""Workers are killed at random moments: every other job finishes, and a resume gives the rest.

SSL_ROT_WORKER_KILLS=200 python -m pytest tests/sweep/test_killed_workers.py    # make soak
"""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from tests.warm import Process

KILLS = int(os.environ.get("SSL_ROT_WORKER_KILLS", "4"))
SEED = int(os.environ.get("SSL_ROT_KILL_SEED", "0"))
SEEDS = 3 if KILLS < 20 else 10
JOBS = 4 * SEEDS
SWEEP = (
    *("dataset.image_size=8", "dataset.train_size=96", "model.widths=[8,16]", "model.blocks=[1,1]"),
    *("schedule.epochs=3", "schedule.batch_size=16", "pretext.schedule.epochs=3", "precision=fp32"),
    *("+experiment=rotation,supervised", "dataset.labels_per_class=2,3", f"seed=range({SEEDS})"),
    *("hydra/launcher=parallel", "hydra.launcher.slots=2", "checkpoint.every=1"),
)


def is_worker(pid: int, folder: Path) -> bool:
    """Whether the process still is a worker: another one may have its number by now."""
    try:
        return Path(f"/proc/{pid}/cwd").readlink() == folder
    except OSError:
        return False


def kill_some(process: Process, folder: Path, draws: random.Random, most: int) -> int:
    """Kills up to ``most`` workers of a running sweep; returns how many."""
    killed: set[int] = set()
    while process.poll() is None and len(killed) < most:
        time.sleep(draws.uniform(0, 1.0))
        running = {int(path.stem.rpartition("-")[2]) for path in folder.rglob(".workers/*.pid")}
        running = {pid for pid in running - killed if is_worker(pid, folder)}
        if running:
            pid = draws.choice(sorted(running))
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
    return len(killed)


@pytest.mark.slow
def test_killed_workers_cost_their_own_jobs_alone(
    start_multirun, finish, runs_of_phase, results, make_store, tmp_path_factory, capsys
):
    base = tmp_path_factory.mktemp("whole")
    uri = make_store(base)
    finish(start_multirun(base, *SWEEP))
    expected = results(uri)
    assert len(expected) == JOBS + SEEDS
    draws, hit = random.Random(SEED), 0
    while hit < KILLS:
        folder = tmp_path_factory.mktemp("killed")
        uri = make_store(folder)
        process = start_multirun(folder, *SWEEP)
        kills = kill_some(process, folder, draws, min(KILLS - hit, JOBS // 2))
        hit += kills
        # A worker may have been killed after its job, and before it told so.
        output, _ = process.communicate(timeout=900)
        finished = int(re.findall(rf"(\d+) of {JOBS} jobs finished", output)[-1])
        assert finished >= JOBS - kills, output
        assert process.returncode == (0 if finished == JOBS else 1)
        states = Counter(
            run.info.status
            for phase in ("pretext", "downstream")
            for run in runs_of_phase(uri, phase)
        )
        assert states.keys() <= {"FINISHED", "KILLED"}
        finish(start_multirun(folder, *SWEEP, "resume=true"))
        assert {run.info.status for run in runs_of_phase(uri, "sweep")} == {"FINISHED"}
        assert results(uri) == expected
    with capsys.disabled():
        print(f"\n{hit} workers killed (seed {SEED})")
