"""The script that compares two stages and two gains, on runs whose differences are known."""

from __future__ import annotations

import runpy

import numpy as np
import pytest

from ssl_rot.report import compare, pair_runs
from ssl_rot.report.comparison.estimates import interval
from ssl_rot.report.comparison.hits import RunHits

TARGETS = np.arange(1000) % 10
NOISE = (0.0, 0.03, -0.02, 0.05)


@pytest.fixture(scope="module")
def script(checkout):
    return runpy.run_path(str(checkout / "scripts" / "known_shapes.py"))


@pytest.fixture
def hits(runs):
    """Two budgets, four seeds; the gains are 10 points with 20 labels and 4 with 400."""
    kept = {}
    for labels, gain in (("20", 0.10), ("400", 0.04)):
        for seed, noise in enumerate(NOISE):
            for arm, value in (("rotation", 0.5 + gain + noise), ("supervised", 0.5)):
                made = runs.downstream(arm, seed, value, dataset__labels_per_class=labels)
                kept[made.run_id] = RunHits(TARGETS, np.arange(1000) < round(1000 * value))
    return kept


def test_the_gain_with_few_labels_minus_that_with_many(script, runs, hits) -> None:
    pairs = pair_runs(runs.frame())
    for order in (pairs, pairs.iloc[::-1]):  # paired by seed, in whatever order they come
        estimate = script["subtract_gains"](order, hits, "20", "400")
        assert estimate.mean == pytest.approx(0.06)
        # The noise of a seed is in both gains; what is left of the error is the images'.
        assert estimate.seed_sd == pytest.approx(1 / len(TARGETS))
        low, high = interval(estimate)
        assert 0 < low < 0.06 < high
    swapped = script["subtract_gains"](pairs, hits, "400", "20")
    assert swapped.mean == pytest.approx(-0.06)


def test_gains_of_other_seeds_are_refused(script, runs, hits) -> None:
    pairs = pair_runs(runs.frame())
    is_extra = (pairs["params.dataset.labels_per_class"] == "400") & (pairs["params.seed"] == "3")
    with pytest.raises(ValueError, match="the seeds differ"):
        script["subtract_gains"](pairs[~is_extra], hits, "20", "400")
    with pytest.raises(ValueError, match="no pairs with 100 labels per class"):
        script["subtract_gains"](pairs, hits, "100", "400")


def test_one_stage_minus_another(script, runs) -> None:
    for seed, noise in enumerate(NOISE):
        for cut, value in (("block2", 0.55), ("block3", 0.3), ("block4", 0.4)):
            for arm, shift in (("rotation", 0.0), ("supervised", -0.2)):
                runs.downstream(arm, seed, value + noise + shift, model__cut=cut)
    called = script["call_stages_arms"](runs.frame(), "block2", "block4")
    (cell,) = compare(pair_runs(called)).to_dict("records")
    assert (cell["n"], cell["wins"]) == (4, 4)
    assert cell["difference"] == pytest.approx(0.15)
