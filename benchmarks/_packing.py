"""Several jobs of a sweep on one GPU; `benchmarks/gpu.sh` runs it.

    python benchmarks/_packing.py --out packing.json
    python benchmarks/_packing.py --device cpu --jobs 2 --epochs 1      # to try it

The same sweep of small pre-training runs on digits with one, two and four jobs at once on a card.
Writes wall seconds, and whether CUDA MPS is running: without it, jobs take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _common import ROOT, machine

from ssl_rot.sweep.slots import describe_sharing

MAKE_STORE = "import mlflow; mlflow.MlflowClient('sqlite:///mlflow.db').search_experiments()"


def seconds(at_once: int, device: str, jobs: int, epochs: int) -> float:
    """Wall seconds of the sweep, without making the store."""
    with tempfile.TemporaryDirectory() as folder:
        env = os.environ | {"PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, "-c", MAKE_STORE], cwd=folder, env=env, check=True)
        packing = f"hydra.launcher.{'per_gpu' if device == 'cuda' else 'slots'}={at_once}"
        command = ["--multirun", "+experiment=rotation", f"seed=range({jobs})", f"device={device}"]
        command += [f"pretext.schedule.epochs={epochs}", "floors=false", packing]
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "ssl_rot.run", *command],
            cwd=folder,
            env=env,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--jobs", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("packing.json"))
    args = parser.parse_args()
    walls = {n: seconds(n, args.device, args.jobs, args.epochs) for n in (1, 2, 4)}
    record = {
        "jobs": args.jobs,
        "seconds by jobs at once": walls,
        "times as fast as one at once": {n: walls[1] / wall for n, wall in walls.items()},
        "sharing": describe_sharing(2),
        "machine": machine(),
    }
    args.out.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps({k: v for k, v in record.items() if k != "machine"}, indent=1))


if __name__ == "__main__":
    main()
