"""Work that goes on beside a block: heartbeats, and samples of the machine."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def in_background(work: Callable[[threading.Event], None]) -> Iterator[None]:
    """Runs ``work`` in a thread, and waits for it after the block.

    Args:
        work: gets an event that is set when the block has ended.
    """
    ended = threading.Event()
    thread = threading.Thread(target=work, args=(ended,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
