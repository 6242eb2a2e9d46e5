"""What a sweep shows while its jobs run: bars in a terminal, else a line when a job ends."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from contextlib import ExitStack
from typing import Any, Protocol, TextIO

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from ssl_rot.errors import describe_error
from ssl_rot.sweep.phase_progress import PhaseProgress
from ssl_rot.sweep.progress import Progress, ProgressReader
from ssl_rot.sweep.wording import describe_duration, shorten_number

log = logging.getLogger(__name__)

_SECONDS = 1.0
"""Between two looks at the sweep, at least."""
_PAUSE_FACTOR = 20
"""The pause after a look, as a multiple of the processor's time that it took."""
_SILENT_SECONDS = 60.0
"""Without a terminal: after so long without a job that ended, a line says how far the sweep is."""


def describe_progress(progress: Progress) -> str:
    """A line such as ``7 of 40 jobs done, 1 failed, 120k of 800k images, about 6 min left``."""
    of = "" if progress.total is None else f" of {progress.total}"
    parts = [f"{progress.done}{of} jobs done"]
    if progress.problems:
        parts.append(f"{len(progress.problems)} failed")
    if progress.images_left:
        total = progress.images + progress.images_left
        parts.append(f"{shorten_number(progress.images)} of {shorten_number(total)} images")
    if progress.images_left and progress.seconds_left is not None:
        parts.append(f"about {describe_duration(progress.seconds_left)} left")
    return ", ".join(parts)


def describe_phase(phase: PhaseProgress) -> str:
    """A line on what a running job is at."""
    accuracy = "" if phase.accuracy is None else f"  test accuracy {phase.accuracy:.4f}"
    epoch = f"epoch {min(len(phase.epochs) + 1, phase.total):>3} of {phase.total}"
    return f"  job {phase.job:<4} {phase.name:<10}  {epoch:<18}{accuracy}"


def describe(progress: Progress) -> list[str]:
    """All there is to see, in lines."""
    return [
        describe_progress(progress),
        *map(_describe_problem, progress.problems.items()),
        *map(describe_phase, progress.running),
    ]


def _describe_problem(problem: tuple[int, str]) -> str:
    return f"Job {problem[0]} did not finish: {problem[1]}"


class SweepView:
    """Follows a sweep in a thread of its own, whatever launcher runs the jobs.

    Args:
        stream: ``None`` is stdout.
    """

    def __init__(self, reader: ProgressReader, stream: TextIO | None = None) -> None:
        self._reader = reader
        self._stream = sys.stdout if stream is None else stream
        self._told: dict[int, str] = {}
        self._is_over = self._is_broken = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="view", daemon=True)
        self._stack = ExitStack()
        self._screen: _Screen | None = None

    def start(self) -> None:
        """Shows the sweep, and what changes, until :meth:`stop`."""
        if self._stream.isatty() and os.environ.get("TERM") != "dumb":  # which moves no cursor
            self._screen = _Bars(self._stream)
            self._stack.enter_context(logging_redirect_tqdm())
        else:
            self._screen = _Lines(self._stream)
        self._update()
        self._thread.start()

    def stop(self) -> None:
        """Shows what has happened until now, and leaves the screen to others."""
        if self._screen is None or self._ended.is_set():
            return
        self._ended.set()
        self._thread.join()
        self._update(ask_mlflow=True)
        self._screen.close()
        self._stack.close()

    def wait(self) -> None:
        """Returns when every job has ended."""
        while not self._is_over:
            time.sleep(_SECONDS / 4)

    def _follow(self) -> None:
        pause = _SECONDS
        while not self._ended.wait(pause):
            started = time.thread_time()
            self._update()
            # The jobs need the cores: a look at thousands of them takes as long as they train.
            pause = max(_SECONDS, _PAUSE_FACTOR * (time.thread_time() - started))

    def _update(self, *, ask_mlflow: bool = False) -> None:
        try:
            progress = self._reader.read(ask_mlflow=ask_mlflow)
        except Exception as error:  # whatever is wrong with a file, the sweep goes on
            if not self._is_broken:
                log.warning("The progress of the sweep cannot be read: %s", describe_error(error))
            self._is_broken = True
            return
        assert self._screen is not None
        for item in progress.problems.items():
            if item not in self._told.items():
                self._screen.tell(_describe_problem(item))
        self._told = progress.problems
        self._screen.show(progress)
        self._is_over = progress.is_over


class _Screen(Protocol):
    def tell(self, text: str) -> None: ...
    def show(self, progress: Progress) -> None: ...
    def close(self) -> None: ...


class _Bars:
    """A bar for the sweep, and a line for each job that runs."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._bars = [self._make("{percentage:3.0f}%|{bar}| {desc}")]

    def _make(self, bar_format: str) -> tqdm[Any]:
        return tqdm(
            total=1, file=self._stream, bar_format=bar_format, leave=False, dynamic_ncols=True
        )

    def tell(self, text: str) -> None:
        tqdm.write(text, file=self._stream)

    def show(self, progress: Progress) -> None:
        top = self._bars[0]
        if progress.images_left is not None:
            top.total, top.n = progress.images + progress.images_left or 1, progress.images
        elif progress.total is None:
            top.bar_format = "{desc}"
        lines = [describe_progress(progress), *map(describe_phase, progress.running)]
        while len(self._bars) < len(lines):
            self._bars.append(self._make("{desc}"))
        lines += [""] * (len(self._bars) - len(lines))
        for bar, line in zip(self._bars, lines, strict=True):
            bar.set_description_str(line)

    def close(self) -> None:
        for bar in reversed(self._bars):
            bar.close()


class _Lines:
    """A line whenever a job has ended, and one a minute between."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._ended: int | None = None
        self._last = time.monotonic()

    def tell(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    def show(self, progress: Progress) -> None:
        ended, now = progress.done + len(progress.problems), time.monotonic()
        is_first, self._ended, before = self._ended is None, ended, self._ended
        if (ended != before and not is_first) or now - self._last >= _SILENT_SECONDS:
            self.tell(describe_progress(progress))
            self._last = now

    def close(self) -> None:
        pass
