"""Where the time of a training step goes: a trace of a few steps, and a table."""

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
"""Steps: the first ones choose kernels and fill caches."""
ROWS = 25
PARTS = ("forward", "backward", "optimizer")
"""As :mod:`ssl_rot.training.loop` marks them."""


@contextmanager
def profiled(folder: Path | None, device: torch.device) -> Iterator[Callable[[], None]]:
    """Traces a few of the steps inside the block.

    Leaves ``trace.json.gz`` (for https://ui.perfetto.dev or chrome://tracing) and ``table.txt`` in
    ``folder``, and prints the table: the processor's time in the parts of a step, and the operators
    of torch with their time on it and, if there is one, on the GPU. A GPU works on while the
    processor goes ahead, so that there the parts tell who waits, not who works.

    Args:
        folder: ``None`` traces nothing.
        device: of the network.

    Yields:
        To be called after each step.
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
        log.warning("Too few steps to profile: a phase needs at least %d", SKIPPED + TRACED)


def _write(folder: Path, device: torch.device, profiler: profile) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    profiler.export_chrome_trace(str(folder / TRACE))
    where = "device" if device.type == "cuda" else "cpu"
    averages = profiler.key_averages()
    total = {event.key: event.cpu_time_total / 1000 / TRACED for event in averages}
    step = total["ProfilerStep*"]
    parts = {name: total.get(name, 0.0) for name in PARTS}
    parts = {"batch, and the rest": step - sum(parts.values()), **parts, "step": step}
    lines = [f"{name:<20}{ms:>10.2f} ms{ms / step:>8.1%}" for name, ms in parts.items()]
    lines += ["", averages.table(sort_by=f"self_{where}_time_total", row_limit=ROWS)]
    table = "\n".join(lines)
    (folder / TABLE).write_text(table + "\n")
    print(f"\nA training step, the mean of {TRACED}, {folder}:\n{table}", flush=True)
