"""What a sweep shows while its jobs run: a line when one ends."""

from __future__ import annotations


class SweepView:
    """Shows the progress of a sweep; the launcher reports to it.

    Args:
        total: how many jobs the sweep has.
        done: how many of them were finished before.
    """

    def __init__(self, total: int, done: int) -> None:
        self._total, self._done, self._failed = total, done, 0

    def job_started(self, number: int, slot: int) -> None:
        """Job ``number`` has started in a slot."""

    def job_ended(self, number: int, problem: str | None) -> None:
        """Job ``number`` has ended; a ``problem`` says why it did not finish."""
        if problem is None:
            self._done += 1
        else:
            self._failed += 1
            print(f"Job {number} did not finish: {problem}")
        failed = f", {self._failed} failed" if self._failed else ""
        print(f"{self._done} of {self._total} jobs done{failed}", flush=True)

    def tick(self) -> None:
        """Called several times a second while jobs run."""
