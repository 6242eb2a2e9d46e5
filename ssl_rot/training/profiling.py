"""A profile of a training step: a trace of a few steps, and a table of times."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, schedule

log = logging.getLogger(__name__)

TRACE, TABLE = "trace.json.gz", "table.txt"
SKIPPED, TRACED = 5, 5
"""Steps. The first ones are slower: they choose kernels and fill caches."""
PARTS = ("forward", "backward", "optimizer")
"""The parts of a step that :mod:`ssl_rot.training.loop` marks."""


@contextmanager
def profiled(folder: Path | None, device: torch.device) -> Iterator[Callable[[], None]]:
    """Traces a few of the training steps inside the block.

    Writes ``trace.json.gz`` (for https://ui.perfetto.dev or chrome://tracing) and ``table.txt`` to
    ``folder``, and prints the table: the CPU time of each part of a step, and torch's operators
    with their time on the CPU and, if there is one, on the GPU. A GPU computes asynchronously, so
    with one the parts show where the CPU waits, not what the GPU computes.

    Without a folder, nothing is profiled. Yields a function to call after each training step.
    """
    if folder is None:
        yield lambda: None
        return
    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(
        activities=activities,
        schedule=schedule(wait=SKIPPED - 1, warmup=1, active=TRACED, repeat=1),
        on_trace_ready=partial(_write, folder, device),
    ) as profiler:
        yield profiler.step
    if not (folder / TRACE).exists():
        log.warning("Too few steps to profile: at least %d are needed", SKIPPED + TRACED)


def _write(folder: Path, device: torch.device, profiler: profile) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    profiler.export_chrome_trace(str(folder / TRACE))
    processor = "device" if device.type == "cuda" else "cpu"
    averages = profiler.key_averages()
    milliseconds = {event.key: event.cpu_time_total / 1000 / TRACED for event in averages}
    step = milliseconds["ProfilerStep*"]
    parts = {name: milliseconds.get(name, 0.0) for name in PARTS}
    parts = {"batch and other": step - sum(parts.values()), **parts, "step": step}
    lines = [f"{name:<20}{ms:>10.2f} ms{ms / step:>8.1%}" for name, ms in parts.items()]
    lines += ["", averages.table(sort_by=f"self_{processor}_time_total", row_limit=25)]
    table = "\n".join(lines)
    (folder / TABLE).write_text(table + "\n")
    print(f"\nProfile of a training step (mean of {TRACED}), in {folder}:\n{table}", flush=True)
