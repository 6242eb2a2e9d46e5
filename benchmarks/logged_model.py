"""What logging a model costs: its time beside that of the run, and its size beside the weights.

    python benchmarks/logged_model.py [overrides of the run]

Runs `python -m ssl_rot.run` once, in a temporary folder. Times are CPU seconds of the process,
imports included, which other programs disturb little; quote their ratio.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from ssl_rot import run


def main() -> None:
    overrides = sys.argv[1:] or ["+experiment=rotation"]
    os.chdir(tempfile.mkdtemp())
    sys.argv[1:] = [*overrides, "log_model=none"]
    run.main()
    trained = time.process_time()

    from ssl_rot.deploy.logged_model import log_classifier
    from ssl_rot.tracking import Tracker

    tracker = Tracker("ssl_rot")
    run_id = tracker.runs.finished("downstream")[0].run_id
    for what in ("the first model of a process", "a later one"):
        before, since = time.process_time(), time.monotonic()
        uri = log_classifier(tracker.store, run_id)
        spent = time.process_time() - before
        print(
            f"{what}: {spent:.1f} s of CPU time ({time.monotonic() - since:.1f} s on the clock), "
            f"{spent / trained:.1%} of the run's {trained:.1f} s"
        )
        model = tracker.store.client.get_logged_model(uri.removeprefix("models:/"))
        folder = Path(model.artifact_location)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        tracker.store.client.delete_logged_model(model.model_id)
    weights = next(Path("outputs").rglob("downstream/weights.safetensors")).stat().st_size
    print(f"size: {size:,} bytes, of which the weights are {weights:,}")


if __name__ == "__main__":
    main()
