"""Runs the command line again and again in processes of their own, and kills some of them.

    echo '{"cwd": "/tmp/x", "args": ["seed=1"], "kill": null}' | python zygote.py

Importing torch and MLflow takes seconds, so each run is forked from this process, which has them.
A line of JSON says where it runs, with which overrides, and when it dies by SIGKILL: ``{"after":
seconds}``, or ``{"during": "checkpoint", "number": 3, "delay": seconds}`` once it writes its third.
The answer is a line as well: the exit status, the seconds, where it was when it ended, how often it
came by each place, and the seconds it spent there.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import select
import signal
import sys
import time
from collections import Counter
from typing import Any

import ssl_rot.run
from ssl_rot.experiment import pipeline, recording
from ssl_rot.tracking import RunLog
from ssl_rot.training import checkpoint

# What a run imports on its way, and slowly.
for name in (
    *("mlflow.store.tracking.sqlalchemy_store", "mlflow.store.artifact.local_artifact_repo"),
    *("matplotlib.figure", "matplotlib.backends.backend_agg", "sklearn.datasets"),
    *("torch._dynamo", "ssl_rot.experiment.resume"),
):
    importlib.import_module(name)


def child(command: dict[str, Any], pipe: int) -> None:
    """Runs the command line, and tells of each place that it enters and leaves."""
    os.chdir(command["cwd"])
    output = os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)

    def told(function: Any, name: str | None, *, left: bool = True) -> Any:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            place = name if name is not None else args[0].name
            os.write(pipe, f"+{place}\n".encode())
            try:
                return function(*args, **kwargs)
            finally:
                if left:
                    os.write(pipe, f"-{place}\n".encode())

        return call

    pipeline.run_pretext = told(pipeline.run_pretext, "pretext")
    pipeline.run_downstream = told(pipeline.run_downstream, "transfer")
    recording.fit = told(recording.fit, None)
    recording.save_weights = told(
        recording.save_weights, "results", left=False
    )  # to the phase's end
    checkpoint.write = told(checkpoint.write, "checkpoint")
    RunLog.send = told(RunLog.send, "MLflow")
    sys.argv = ["ssl_rot.run", *command["args"]]
    status = 0
    try:
        ssl_rot.run.main()
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 0
    except BaseException:
        import traceback

        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def serve(command: dict[str, Any]) -> dict[str, Any]:
    """Forks a run, follows it, and kills it at its moment."""
    began = time.monotonic()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        child(command, writing)
    os.close(writing)
    kill = command["kill"] or {}
    passed: Counter[str] = Counter()
    inside = ["set-up"]
    deadline = began + kill["after"] if "after" in kill else None
    seconds: Counter[str] = Counter()  # in each place, not in those inside it
    since, left = began, ""
    while True:
        wait = None if deadline is None else max(0.0, deadline - time.monotonic())
        if not select.select([reading], [], [], wait)[0]:
            os.kill(pid, signal.SIGKILL)
            deadline = None
            continue
        read = os.read(reading, 4096)
        if not read:
            break
        *lines, left = (left + read.decode()).split("\n")
        for line in lines:
            now = time.monotonic()
            seconds[inside[-1]] += now - since
            since = now
            place = line[1:]
            if line[0] == "-":
                del inside[len(inside) - 1 - inside[::-1].index(place) :]
                continue
            inside.append(place)
            passed[place] += 1
            if place == kill.get("during") and passed[place] == kill["number"]:
                deadline = time.monotonic() + kill["delay"]
    _, code = os.waitpid(pid, 0)
    os.close(reading)
    return {
        "status": os.waitstatus_to_exitcode(code),
        "seconds": time.monotonic() - began,
        "place": inside[-1],
        "passed": passed,
        "seconds_in": seconds,
    }


def main() -> None:
    for line in sys.stdin:
        print(json.dumps(serve(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
