"""Numbers as people read them."""

from __future__ import annotations

from tqdm import tqdm


def shorten_number(number: float) -> str:
    """``120k`` for 120,000."""
    return tqdm.format_sizeof(number) if number >= 1000 else f"{number:.0f}"


def describe_duration(seconds: float) -> str:
    """``50 s``, ``6 min`` or ``2.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
