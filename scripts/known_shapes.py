"""Two differences that the report does not ask for: between two stages, and between two gains.

    python scripts/known_shapes.py depth EXPERIMENT block2 block4
    python scripts/known_shapes.py gains EXPERIMENT 20 400 --select schedule.lr schedule.epochs

``depth``: rotation's accuracy on one stage minus that on another (``model.cut``). ``gains``:
rotation minus supervised-only with one number of labels per class, minus the same with another,
each arm with the settings that validation images choose. Both are paired by seed and have the
report's interval, over seeds and test images. ``--first-seed 2`` leaves out seeds 0 and 1.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd

from ssl_rot.report import load_predictions, load_runs
from ssl_rot.report.analysis import Question, answer
from ssl_rot.report.comparison.columns import ARM, CONFIG_KEY, PAIR_KEY, PHASE, VARIANCE
from ssl_rot.report.comparison.estimates import Estimate, interval
from ssl_rot.report.comparison.hits import Hits, cell_hits
from ssl_rot.report.comparison.selection_error import add_selection_error
from ssl_rot.report.comparison.two_way import estimate_two_way

CUT, LABELS = "params.model.cut", "params.dataset.labels_per_class"


def call_stages_arms(runs: pd.DataFrame, first: str, second: str) -> pd.DataFrame:
    """Rotation's runs on two stages, called rotation and supervised-only."""
    is_probe = (runs[PHASE] == "downstream") & (runs[ARM] == "rotation")
    called = runs[is_probe & runs[CUT].isin([first, second])].copy()
    called[ARM] = np.where(called[CUT] == first, "rotation", "supervised")
    called[PAIR_KEY] = called["params.seed"]
    called[CONFIG_KEY] = called[PAIR_KEY] + called[ARM]
    called[CUT] = "null"
    called.attrs = runs.attrs
    return called.reset_index(drop=True)


def subtract_gains(pairs: pd.DataFrame, hits: Hits, first: str, second: str) -> Estimate:
    """The gain with ``first`` labels per class minus that with ``second``.

    Args:
        pairs: of the report, those that are not left out.
        hits: of their runs.

    Raises:
        ValueError: a pair has no partner with the other budget, or a run kept no predictions.
    """
    gains, variances, seeds = [], [], []
    for labels in (first, second):
        part = pairs[pairs[LABELS] == labels].sort_values("unit")
        of_images = cell_hits(part, hits)
        if of_images is None:
            raise ValueError(f"no pairs with {labels} labels per class, or no predictions of them")
        gains.append(of_images.arm - of_images.reference)
        sides = [f"{side}_{VARIANCE}" for side in ("arm", "reference")]
        variances.append(np.array(part[sides].iloc[0].sum() if sides[0] in part else 0.0))
        seeds.append(part["unit"].tolist())
    if seeds[0] != seeds[1]:
        raise ValueError(f"the seeds differ: {seeds[0]} with {first}, {seeds[1]} with {second}")
    estimate = estimate_two_way(gains[0] - gains[1])
    if max(variances) == 0:
        return estimate
    return add_selection_error(estimate, (variances[0], variances[1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("shape", choices=["depth", "gains"])
    parser.add_argument("experiment")
    parser.add_argument("first")
    parser.add_argument("second")
    parser.add_argument("--select", nargs="+", default="auto", metavar="KEY")
    parser.add_argument("--first-seed", type=int, default=0)
    arguments = parser.parse_args()
    first, second = arguments.first, arguments.second
    everything = load_runs(arguments.experiment)
    runs = everything[everything["params.seed"].astype(float) >= arguments.first_seed]
    runs.attrs = everything.attrs
    if arguments.shape == "depth":
        cells = answer(call_stages_arms(runs, first, second), Question(), "", "").cells
        if len(cells) != 1:
            parser.error(f"the runs differ in more than the stage: {', '.join(cells['cell'])}")
        cell = cells.iloc[0]
        difference, low, high, n = (cell[name] for name in ("difference", "low", "high", "n"))
        print(f"accuracy on {first} minus {second}, ahead in {cell['wins']} of {n} seeds:")
    else:
        pairs = answer(runs, Question(select=arguments.select), "", "").pairs
        pairs = pairs[pairs["left_out"] == ""]
        ids = [*pairs["arm_run_id"], *pairs["reference_run_id"]]
        kept = runs[runs["run_id"].isin(ids)]
        locations = zip(kept["run_id"], kept["artifact_uri"], strict=True)
        hits = load_predictions(locations, runs.attrs.get("uri"))
        try:
            estimate = subtract_gains(pairs, hits, first, second)
        except ValueError as fault:
            parser.error(str(fault))
        difference, n = estimate.mean, int(estimate.n)
        low, high = interval(estimate)
        print(f"gain with {first} minus gain with {second} labels per class, {n} seeds:")
    print(f"{100 * difference:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]")


if __name__ == "__main__":
    main()
