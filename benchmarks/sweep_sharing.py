"""How much time sharing one pre-training among a sweep's jobs saves.

    python benchmarks/sweep_sharing.py                 about fifteen minutes
    python benchmarks/sweep_sharing.py --repeats 1

A grid of 12 jobs on digits (2 arms x 3 label budgets x 2 freeze policies, one seed), alternately
with its pre-training shared and with pretext.reuse=false, each in an existing, empty store. Prints
each side's median with the smallest and the largest, and writes benchmarks/sweep_sharing.json.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time

from _common import ROOT, conclude

MAKE_STORE = (
    "from mlflow import MlflowClient; MlflowClient('sqlite:///mlflow.db').get_experiment('0')"
)
GRID = (
    *("--multirun", "+experiment=rotation,supervised", "dataset.labels_per_class=1,5,20"),
    "freeze=none,backbone",
)


def timed(reuse: bool) -> float:
    """Seconds that the whole command takes, start-up included."""
    with tempfile.TemporaryDirectory() as folder:
        # Not timed: a directory needs its store created once, not once per sweep.
        subprocess.run(
            [sys.executable, "-c", MAKE_STORE], cwd=folder, check=True, stderr=subprocess.DEVNULL
        )
        command = [sys.executable, "-m", "ssl_rot.run", *GRID, f"pretext.reuse={reuse}".lower()]
        began = time.perf_counter()
        subprocess.run(
            command,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    seconds: dict[str, list[float]] = {"shared": [], "not shared": []}
    for _ in range(repeats):
        seconds["shared"].append(timed(reuse=True))
        seconds["not shared"].append(timed(reuse=False))
    goals = {("shared", "not shared"): "at most 1/3"}
    conclude(__file__, seconds, unit="s", goals=goals, grid=GRID)


if __name__ == "__main__":
    main()
