"""A profile of a training step: a trace of a few steps, and a table of times."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from torch.profiler import profile, schedule

log = logging.getLogger(__name__)

TRACE, TABLE = "trace.json.gz", "table.txt"
SKIPPED, TRACED = 5, 5
"""Steps. The first ones are slower: they choose kernels and fill caches."""


@contextmanager
def profiled(folder: Path | None) -> Iterator[Callable[[], None]]:
    """Traces a few of the training steps inside the block; without a folder, does nothing.

    Writes ``trace.json.gz`` (for https://ui.perfetto.dev) and ``table.txt`` to ``folder``, and
    prints the table. A GPU computes asynchronously, so the CPU times of the step's parts
    (``forward``, ``backward``, ``optimizer``) then show where the CPU waits.

    Yields a function to call after each training step.
    """
    if folder is None:
        yield lambda: None
        return

    def write(profiler: profile) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        profiler.export_chrome_trace(str(folder / TRACE))
        table = profiler.key_averages().table(sort_by="cpu_time_total", row_limit=25)
        (folder / TABLE).write_text(table + "\n")
        print(f"\nProfile of {TRACED} training steps, in {folder}:\n{table}", flush=True)

    steps = schedule(wait=SKIPPED - 1, warmup=1, active=TRACED, repeat=1)
    with profile(schedule=steps, on_trace_ready=write) as profiler:
        yield profiler.step
    if not (folder / TRACE).exists():
        log.warning("Too few steps to profile: at least %d are needed", SKIPPED + TRACED)
