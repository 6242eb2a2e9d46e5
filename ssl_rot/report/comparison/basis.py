"""What the verdict of a cell is based on, in one line. All p values in it are adjusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ssl_rot.report.comparison.metrics import format_difference, unit_of
from ssl_rot.report.comparison.verdicts import LEAST_SEEDS

Row = Mapping[Any, Any]


def describe_basis(cell: Row) -> str:
    """``10 seeds and 360 test images, p = 0.0013 after Holm over 4 cells; ...``."""
    return "; ".join(filter(None, [_describe_test(cell), _describe_loss(cell)]))


def plural(count: int, noun: str) -> str:
    """``1 seed``, ``3 seeds``."""
    return f"{count} {noun}{'s' * (count != 1)}"


def join_words(items: Sequence[str], word: str = "and") -> str:
    """``1, 5 and 20``; equal items once."""
    distinct = list(dict.fromkeys(items))
    return f" {word} ".join(filter(None, [", ".join(distinct[:-1]), distinct[-1]]))


def _describe_test(cell: Row) -> str:
    samples = plural(cell["n"], cell["unit"])
    if cell["n"] < LEAST_SEEDS:
        text = f"{samples}; a verdict takes at least {LEAST_SEEDS}, better five or more"
        if np.isfinite(cell["p_mcnemar_holm"]):
            p = f"McNemar p = {cell['p_mcnemar_holm']:.2g}"
            text += f"; of these two networks, over the test images: {p}"
        return text
    if np.isfinite(cell["images"]):
        samples += f" and {cell['images']:.0f} test images"
    family = int(cell["family"])
    after = f" after Holm over {family} cells" if family > 1 else ""
    text = f"{samples}, p = {cell['p_holm']:.2g}{after}"
    flips = f"sign flips p = {cell['p_sign_flip_holm']:.2g}"
    if cell["p_sign_flip"] <= 1.001 * 0.5 ** (cell["n"] - 1):
        flips += f" (as small as {plural(cell['n'], cell['unit'])} allow)"
    return f"{text}; {flips}"


def _describe_loss(cell: Row) -> str:
    if not cell["failures"]:
        return ""
    level = f"chance ({unit_of(cell['metric']).factor * cell['chance']:.3g} %)"
    if cell["chance"] == 0:
        level = "zero (the number of classes is not known)"
    if not np.isfinite(cell["worst_difference"]) or cell["n"] == 0:
        return str(cell["failures"])
    worst = format_difference(cell["metric"], cell["worst_difference"])
    return f"{cell['failures']}: {worst} with each lost run at {level}"
