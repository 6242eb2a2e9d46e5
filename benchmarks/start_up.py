"""Time from the command to the first training step, against the imports that every run needs.

    python benchmarks/start_up.py                      one minute

Two processes alternate, with their files in the system's cache: `import torch, mlflow`, and a run
on digits in an existing tracking store, ended after its first step. Prints each side's median with
the smallest and the largest, and writes benchmarks/start_up.json. A test checks that `--help`
imports neither of the two (tests/unit/test_run.py).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial

from _common import ROOT, conclude, in_turns

BARE = "import torch, mlflow, os; os._exit(0)"
# torch is imported slightly earlier than by the run itself, and only once.
RUN = """
import os, runpy, sys
from torch.optim.optimizer import register_optimizer_step_post_hook
register_optimizer_step_post_hook(lambda *_: os._exit(0))
sys.argv = ["ssl_rot.run", "+experiment=supervised"]
runpy.run_module("ssl_rot.run", run_name="__main__")
"""


def timed(code: str, folder: str) -> float:
    """Seconds from the start of a process until it ends."""
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], cwd=folder, env=env, check=True)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as folder:
        sides: dict[str, Callable[[], float]] = {
            "first step": partial(timed, RUN, folder),
            "imports": partial(timed, BARE, folder),
        }
        times = in_turns(sides, repeats)
    goals = {("first step", "imports"): "at most 2.5"}
    conclude(__file__, times, unit="s", goals=goals)


if __name__ == "__main__":
    main()
