"""Runs a part of RotNet's tables unattended, in short pieces.

    python scripts/rotnet.py few_labels                       one piece of at most nine minutes
    while python scripts/rotnet.py few_labels; [ $? = 75 ]; do :; done      until finished

For machines that are available for minutes at a time: after eight minutes the sweep is asked to
stop after its current epoch, and the next piece resumes it. Each piece writes rotnet_<part>.json,
with the finished results beside the published ones. The exit status is 75 while there is more to
do. The parts are the sweeps conf/sweep/rotnet_*; further arguments are overrides for them, such as
seed=0,1,2.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from ssl_rot.config.paths import CHECKOUT_CONF
from ssl_rot.errors import TrackingError
from ssl_rot.report import load_runs
from ssl_rot.report.comparison.published import against_published

MORE_TO_DO = 75  # EX_TEMPFAIL of sysexits.h
AT_ONCE = 45  # seconds that the current epoch may take to end


def main() -> int:
    parts = [
        path.stem.removeprefix("rotnet_") for path in (CHECKOUT_CONF / "sweep").glob("rotnet_*")
    ]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", choices=sorted(parts))
    parser.add_argument(
        "--seconds",
        type=float,
        default=480,
        help="after which a piece stops with its current epoch",
    )
    arguments, overrides = parser.parse_known_args()
    name = f"rotnet_{arguments.part}"
    command = [sys.executable, "-m", "ssl_rot.run", f"+sweep={name}", "resume=true"]
    status = piece([*command, f"tracking.experiment_name={name}", *overrides], arguments.seconds)
    try:
        found = against_published(load_runs(name)).to_dict("records")
    except TrackingError:  # the first pre-training is not finished yet
        found = []
    record = {
        "part": arguments.part,
        "overrides": overrides,
        "finished": status == 0,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "beside_published": found,
    }
    Path(f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    return status


def piece(command: list[str], seconds: float) -> int:
    """Runs a command for some seconds, then asks it to stop, and once more if that takes long."""
    process = subprocess.Popen(command)
    for limit in (seconds, AT_ONCE):
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
        else:
            break
    else:
        status = process.wait()
    return MORE_TO_DO if status == 128 + signal.SIGTERM else status


if __name__ == "__main__":
    sys.exit(main())
