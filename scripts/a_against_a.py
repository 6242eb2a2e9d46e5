"""How often the report finds a difference where there is none, on real runs.

    python scripts/a_against_a.py EXPERIMENT [--pages 200] [--pairs 8]

The experiment's supervised-only runs, alike but for seed and tuned settings, are called rotation or
supervised-only at random and paired at random. Everything after MLflow is the report's own: the
choice of each arm's settings, histories, predictions, interval, verdict. Prints how many pages
say that an arm is better, and how often the interval misses zero. Pages share runs: with forty
seeds the rate is less certain than the number of pages suggests.
"""

from __future__ import annotations

import argparse
from collections import Counter

import numpy as np
import pandas as pd
from tqdm import tqdm

from ssl_rot.report import load_runs
from ssl_rot.report.analysis import Question, answer
from ssl_rot.report.comparison.columns import ARM, CONFIG_KEY, PAIR_KEY, PHASE
from ssl_rot.report.comparison.params import downstream_params, params_as_text


def call_at_random(runs: pd.DataFrame, pairs: int, rng: np.random.Generator) -> pd.DataFrame:
    """The runs of ``pairs`` random seeds called rotation, and of as many others supervised-only."""
    seeds = rng.permutation(runs["params.seed"].unique())[: 2 * pairs]
    arm = dict.fromkeys(seeds[:pairs], "rotation") | dict.fromkeys(seeds[pairs:], "supervised")
    number = dict(zip(seeds, [*range(pairs), *range(pairs)], strict=True))
    chosen = runs[runs["params.seed"].isin(seeds)].copy()
    chosen[ARM] = chosen["params.seed"].map(arm)
    chosen["params.seed"] = chosen["params.seed"].map(number).astype(str)
    alike = ["params.seed", *downstream_params(chosen.columns)]
    chosen[PAIR_KEY] = params_as_text(chosen, alike).agg(" ".join, axis=1)
    chosen[CONFIG_KEY] = chosen[PAIR_KEY] + chosen[ARM]
    chosen.attrs = runs.attrs
    return chosen.reset_index(drop=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("experiment")
    parser.add_argument("--pages", type=int, default=200)
    parser.add_argument("--pairs", type=int, default=8)
    arguments = parser.parse_args()
    runs = load_runs(arguments.experiment)
    is_plain = (runs[PHASE] == "downstream") & (runs[ARM] == "supervised")
    supervised = runs[is_plain & (runs["status"] == "FINISHED")]
    seeds = supervised["params.seed"].nunique()
    if seeds < 2 * arguments.pairs:
        parser.error(f"{seeds} seeds of supervised-only runs; {2 * arguments.pairs} are needed")
    supervised.attrs = runs.attrs
    rng = np.random.default_rng(0)
    verdicts: Counter[str] = Counter()
    missed, differences = 0, []
    for _ in tqdm(range(arguments.pages), unit="page", disable=None):
        called = call_at_random(supervised, arguments.pairs, rng)
        cells = answer(called, Question(), "A against A", "").cells
        if len(cells) > 1:
            parser.error(f"the runs differ in more than is tuned: {', '.join(cells['cell'])}")
        cell = cells.iloc[0]
        verdicts[cell["verdict"]] += 1
        missed += not cell["low"] <= 0 <= cell["high"]
        differences.append(cell["difference"])
    decided = sum(verdicts[word] for word in ("better", "worse"))
    pages = arguments.pages
    print(f"{len(supervised)} runs, {seeds} seeds; {pages} pages of {arguments.pairs} pairs")
    print(f"verdicts: {dict(verdicts)}")
    print(f"better or worse: {decided / pages:.1%}")
    print(f"intervals that miss zero: {missed / pages:.1%}")
    print(f"differences: {np.mean(differences):+.4f} ± {np.std(differences, ddof=1):.4f}")


if __name__ == "__main__":
    main()
