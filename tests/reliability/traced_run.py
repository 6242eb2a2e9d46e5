"""``ssl_rot.run`` that reports where it is: a line ``+checkpoint`` when it begins to write one.

A line ``-checkpoint`` says that it has. They go to the open file whose number is in the environment
as SSL_ROT_TRACE.
"""

from __future__ import annotations

import functools
import os
from typing import Any

import ssl_rot.run
from ssl_rot.experiment import pipeline, recording
from ssl_rot.tracking import RunLog
from ssl_rot.training import checkpoint

TRACE = int(os.environ["SSL_ROT_TRACE"])


def traced(function: Any, name: str | None, *, ends: bool = True) -> Any:
    """The function, which reports its name, or that of the phase that is its first argument."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        place = name if name is not None else args[0].name
        os.write(TRACE, f"+{place}\n".encode())
        try:
            return function(*args, **kwargs)
        finally:
            if ends:
                os.write(TRACE, f"-{place}\n".encode())

    return call


if __name__ == "__main__":
    pipeline.run_pretext = traced(pipeline.run_pretext, "pretext")
    pipeline.run_downstream = traced(pipeline.run_downstream, "transfer")
    recording.fit = traced(recording.fit, None)
    # From the weights to the end of the phase.
    recording.save_weights = traced(recording.save_weights, "results", ends=False)
    checkpoint.write = traced(checkpoint.write, "checkpoint")
    RunLog.send = traced(RunLog.send, "MLflow")
    ssl_rot.run.main()
