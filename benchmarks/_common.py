"""What the benchmarks share: measuring sides alternately, their ratios, and the machine."""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

Figures = dict[str, list[float]]
"""Values by side, one per repetition."""


def in_turns(sides: Mapping[str, Callable[[], float]], repeats: int) -> Figures:
    """Measures the sides alternately, so that whatever slows the machine slows them all.

    Each side's first measurement is a warm-up for files and kernels, and is not kept.
    """
    figures: Figures = {name: [] for name in sides}
    for repeat in range(repeats + 1):
        for name, measure in sides.items():
            value = measure()
            if repeat:
                figures[name].append(value)
            print(f"  {name}: {value:.4g}{'' if repeat else ' (warm-up)'}", flush=True)
    return figures


def spread(values: Sequence[float]) -> str:
    """The median, with the smallest and the largest value."""
    return f"{statistics.median(values):8.4g}  ({min(values):.4g} to {max(values):.4g})"


def conclude(
    script: str,
    figures: Figures,
    *,
    unit: str,
    goals: Mapping[tuple[str, str], str],
    **about: object,
) -> None:
    """Prints the figures and their ratios, and writes both to a JSON file next to the script.

    Args:
        script: path of the benchmark.
        figures: the values of all sides.
        unit: of the figures.
        goals: for the ratio of two sides, by numerator and denominator.
        about: anything else for the record.
    """
    for name, values in figures.items():
        print(f"{name:<32} {spread(values)} {unit}")
    ratios = {}
    for (above, below), goal in goals.items():
        values = [a / b for a, b in zip(figures[above], figures[below], strict=True)]
        ratios[f"{above} / {below}"] = {"goal": goal, "values": values}
        print(f"{f'{above} / {below}':<32} {spread(values)}, goal {goal}", flush=True)
    record = {"ratios": ratios, "unit": unit, "figures": figures, **about, "machine": machine()}
    Path(script).with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")


def machine() -> dict[str, object]:
    """The machine and the versions that the figures were measured with."""
    name = platform.processor() or platform.machine()
    features: list[str] = []
    if sys.platform == "linux":
        about = Path("/proc/cpuinfo").read_text()
        if found := re.search(r"model name\s*: (.*)", about):
            name = found[1]
        features = [flag for flag in ("avx512_bf16", "amx_bf16") if f" {flag}" in about]
    return {
        "processor": name,
        "features": features,
        "cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "python": platform.python_version(),
        **{package: version(package) for package in ("torch", "mlflow", "pillow")},
    }
