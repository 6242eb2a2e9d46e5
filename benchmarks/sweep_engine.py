"""How close sweeps come to what training itself takes, and what a job costs beyond it.

    python benchmarks/sweep_engine.py                        twelve minutes on two quiet cores
    python benchmarks/sweep_engine.py twelve first_step      only these rows
    python benchmarks/sweep_engine.py --repeats 1

Rows, each the median of the repetitions with the smallest and the largest:

    twelve       2 arms x 3 seeds x 2 budgets on digits: wall / (sum of epoch_seconds / cores)
    forty        40 jobs of one epoch: wall / a plain script with two processes
    hundred      100 tiny jobs: processor seconds / a bare Hydra + MLflow loop, both without figures
    first_step   seconds from the command to the first training step of a sweep, files warm
    thousand     seconds in which resume=true skips 1,000 finished jobs
    memory       MiB that a worker has of its own, beside the pages that all share, and resident

The tracking store exists before; creating one takes MLflow seconds, once per directory. Writes
benchmarks/sweep_engine.json; rows that are left out keep their figures there.
"""

from __future__ import annotations

import argparse
import csv
import ctypes
import json
import os
import re
import resource
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from _common import ROOT, machine, spread

BARE = Path(__file__).with_name("_bare_loop.py")
RUN = ("-m", "ssl_rot.run", "--multirun")
TINY = ("+experiment=supervised", "schedule.epochs=1", "precision=fp32", "floors=false")
PR_SET_CHILD_SUBREAPER = 36  # Linux: this process inherits what its children leave behind
CORES = len(os.sched_getaffinity(0))

# A loss that leaves the time of its first step, and ends the job.
TIMED_LOSS = """
import os, pathlib, time, torch

class Timed(torch.nn.CrossEntropyLoss):
    def forward(self, logits, targets):
        pathlib.Path(os.environ["FIRST_STEP"]).write_text(str(time.time()))
        os._exit(1)
"""


def run(folder: Path, *command: str, expect: int = 0, **environment: str) -> dict[str, float]:
    """Wall and processor seconds of a command, with all processes that it leaves behind."""
    env = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=env, capture_output=True, text=True
    )
    wall = time.perf_counter() - began
    # The process that a sweep forks its jobs from ends after the sweep, and is counted too.
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != expect:
        sys.exit(done.stdout + done.stderr)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": wall, "cpu": used}


class Folders:
    """Fresh folders with an empty tracking store."""

    def __init__(self, base: Path) -> None:
        self._base, self._number = base, 0
        self._store = base / "mlflow.db"
        make = "import mlflow; mlflow.MlflowClient('sqlite:///mlflow.db').search_experiments()"
        run(base, "-c", make)

    def __call__(self) -> Path:
        self._number += 1
        folder = self._base / str(self._number)
        folder.mkdir()
        shutil.copyfile(self._store, folder / "mlflow.db")
        return folder


def twelve(folders: Folders) -> dict[str, float]:
    folder = folders()
    grid = ("+experiment=rotation,supervised", "seed=0,1,2", "dataset.labels_per_class=1,5")
    wall = run(folder, *RUN, *grid)["wall"]
    training = 0.0
    for path in folder.rglob("history.csv"):
        if path.is_relative_to(folder / "multirun"):
            # A job that reuses a pre-training has a copy of its history, not of its run.
            if not (path.parent / "run.json").exists():
                continue
            with path.open() as file:
                # Nothing is trained for the floors, which have no epochs.
                training += sum(float(row.get("epoch_seconds", 0)) for row in csv.DictReader(file))
    return {"wall": wall, "limit": training / CORES, "ratio": wall / (training / CORES)}


def forty(folders: Folders) -> dict[str, float]:
    ours = run(folders(), *RUN, *TINY, "seed=range(40)")["wall"]
    plain = run(folders(), str(BARE), "processes", "40", OMP_NUM_THREADS="1")["wall"]
    return {"wall": ours, "plain": plain, "ratio": ours / plain}


def hundred(folders: Folders) -> dict[str, float]:
    ours = run(folders(), *RUN, *TINY, "seed=range(100)")["cpu"]
    loop = ("--multirun", *TINY, "seed=range(100)", "~hydra.callbacks.sweep")
    bare = run(folders(), str(BARE), "loop", *loop, "hydra/launcher=basic", OMP_NUM_THREADS="1")[
        "cpu"
    ]
    return {"cpu": ours, "bare": bare, "ratio": ours / bare}


def first_step(folders: Folders) -> dict[str, float]:
    folder = folders()
    (folder / "conf" / "loss").mkdir(parents=True)
    (folder / "conf" / "loss" / "timed.yaml").write_text("_target_: timed.Timed\n")
    (folder / "timed.py").write_text(TIMED_LOSS)
    first, began = folder / "first_step", time.time()
    path = os.pathsep.join([str(ROOT), str(folder)])
    command = ("--config-dir", "conf", *TINY, "loss=timed", "seed=0")
    run(folder, *RUN, *command, expect=1, PYTHONPATH=path, FIRST_STEP=str(first))
    return {"seconds": float(first.read_text()) - began}


def thousand(folders: Folders) -> dict[str, float]:
    if not hasattr(folders, "finished"):
        folder = folders()
        run(folder, *RUN, *TINY, "seed=0")
        copy_runs(folder, run_keys(folder, 1000))
        folders.finished = folder  # type: ignore[attr-defined]
    return {
        "seconds": run(folders.finished, *RUN, *TINY, "seed=range(1000)", "resume=true")["wall"]
    }


def run_keys(folder: Path, count: int) -> list[str]:
    """The config keys of the jobs, as the plan of a sweep computes them."""
    code = f"""
import json, pathlib
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from ssl_rot.experiment.context import open_tracker
from ssl_rot.sweep.composition import Composer, split_overrides
from ssl_rot.sweep.plan import Planner
with initialize_config_dir(version_base="1.3", config_dir={str(ROOT / "conf")!r}):
    overrides = {[*TINY, f"seed=range({count})"]!r}
    loader = GlobalHydra.instance().config_loader()
    config = loader.load_configuration("config", overrides, RunMode.MULTIRUN)
    planner = Planner(Composer(config), open_tracker(config), pathlib.Path())
    jobs = [planner.plan(n, job) for n, job in enumerate(split_overrides(config))]
    pathlib.Path("keys.json").write_text(json.dumps([job.keys.config for job in jobs]))
"""
    run(folder, "-c", code)
    keys: list[str] = json.loads((folder / "keys.json").read_text())
    return keys


def copy_runs(folder: Path, keys: list[str]) -> None:
    """Copies the finished run in a store once for each key."""
    database = sqlite3.connect(folder / "mlflow.db")
    query = "select run_uuid from tags where key = 'ssl_rot.phase' and value = 'downstream'"
    ((source,),) = database.execute(query).fetchall()
    for table in ("runs", "tags", "params", "latest_metrics", "metrics"):
        columns = [row[1] for row in database.execute(f"pragma table_info({table})")]
        rows = database.execute(f"select * from {table} where run_uuid = ?", (source,)).fetchall()
        at = columns.index("run_uuid")
        marks = ",".join("?" * len(columns))
        for number, key in enumerate(keys[1:], 1):
            for row in rows:
                new = list(row)
                new[at] = f"{number:032x}"
                if table == "tags" and row[columns.index("key")] == "ssl_rot.config_key":
                    new[columns.index("value")] = key
                database.execute(f"insert into {table} values ({marks})", new)
    database.commit()
    database.close()


def memory(folders: Folders) -> dict[str, float]:
    """The largest values of any worker of a sweep that trains a tiny network on digits."""
    folder = folders()
    seen: dict[str, float] = {"own": 0.0, "resident": 0.0}
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.2):
            for path in folder.rglob(".workers/*.pid"):
                try:
                    text = Path(f"/proc/{path.stem.rpartition('-')[2]}/smaps_rollup").read_text()
                except OSError:
                    continue
                sizes = {k: int(v) / 1024 for k, v in re.findall(r"(\w+):\s+(\d+) kB", text)}
                own = sizes["Private_Clean"] + sizes["Private_Dirty"]
                seen["own"] = max(seen["own"], own)
                seen["resident"] = max(seen["resident"], sizes["Rss"])

    thread = threading.Thread(target=watch)
    thread.start()
    run(folder, *RUN, *TINY, "seed=range(8)")
    ended.set()
    thread.join()
    return seen


ROWS: dict[str, tuple[Callable[[Folders], dict[str, float]], str]] = {
    "twelve": (twelve, "ratio at most 1.25"),
    "forty": (forty, "ratio at most 1.0"),
    "hundred": (hundred, "ratio at most 1.0"),
    "first_step": (first_step, "at most 7 s"),
    "thousand": (thousand, "at most 60 s"),
    "memory": (memory, "told"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", choices=[[], *ROWS], help="all of them by default")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    path = Path(__file__).with_suffix(".json")
    record: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    with tempfile.TemporaryDirectory() as base:
        folders = Folders(Path(base))
        for name in args.rows or ROWS:
            measure, goal = ROWS[name]
            measured = [measure(folders) for _ in range(args.repeats)]
            values = {key: [each[key] for each in measured] for key in measured[0]}
            record[name] = {
                "goal": goal,
                "median": {key: statistics.median(v) for key, v in values.items()},
                "values": values,
            }
            for key, each in values.items():
                print(f"{name:<12} {key:<10} {spread(each)}", flush=True)
            print(f"{name:<12} goal: {goal}", flush=True)
            record["machine"] = machine()
            path.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
