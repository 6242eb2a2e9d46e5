"""How the report names and counts label budgets: per class, or a part of all labels."""

from __future__ import annotations

import pytest

from ssl_rot.report.comparison.cell_statistics import compare
from ssl_rot.report.comparison.floors import add_floors
from ssl_rot.report.comparison.label_budgets import count_labels, name_budgets
from ssl_rot.report.comparison.pairing import pair_runs
from ssl_rot.report.page.figures import draw_figures
from ssl_rot.report.page.headline import write_headline

PER_CLASS, PART = "dataset.labels_per_class", "dataset.label_fraction"


@pytest.mark.parametrize(
    ("key", "values", "named"),
    [
        (PER_CLASS, ["1"], "1 label per class"),
        (PER_CLASS, ["1", "5", "5", "null"], "1, 5 and all labels per class"),
        (PER_CLASS, ["null"], "all labels"),
        (PART, ["0.01"], "1 % of the labels"),
        (PART, ["0.005", "0.1", "null"], "0.5 %, 10 % and all of the labels"),
        (PART, ["null"], "all labels"),
    ],
)
def test_budgets_in_words(key, values, named):
    assert name_budgets(key, values) == named


@pytest.fixture
def by_part(runs):
    """Rotation with 1 % is between what supervised-only reaches with 1 % and with 10 %."""
    for part, base, gain in (("0.01", 0.4, 0.1), ("0.1", 0.6, 0.1)):
        changes = {"dataset__labels_per_class": "null", "dataset__label_fraction": part}
        runs.arms([gain - 0.001, gain, gain + 0.001], base=base, **changes)
    return runs


def test_a_part_of_the_labels_is_a_budget(by_part):
    frame = by_part.frame()
    pairs = pair_runs(frame)
    cells = add_floors(compare(pairs), pairs, frame)
    text = " ".join(write_headline(cells))
    assert "of test accuracy with 1 % and 10 % of the labels over 3 seeds" in text
    assert "1 % of the labels with rotation are worth about 3.2 % with supervised-only." in text
    figures = {figure.name: figure.figure for figure in draw_figures(cells, pairs, {})}
    assert "labels" not in figures
    assert "forest" not in figures
    ticks = figures["labels-part"].axes[1].get_xticklabels()
    assert [tick.get_text() for tick in ticks] == ["1 %", "10 %"]


def test_the_page_counts_the_labels_of_each_budget(by_part):
    by_part.arms([0.1], dataset__labels_per_class="20")
    counts = {"0.1": "145", "0.01": "15", "null": "87 (all there are of 'rare' 7)"}
    for made in by_part.made:
        if made.tags["phase"] == "downstream":
            made.tags["labels"] = counts[made.params.get("dataset.label_fraction", "null")]
    assert count_labels(by_part.frame()) == (
        " Labels used: 87 (all there are of 'rare' 7) with 20 labels per class; 15 with 1 % of the "
        "labels; 145 with 10 % of the labels."
    )


def test_runs_that_did_not_count_their_labels_are_not_counted(by_part):
    assert count_labels(by_part.frame()) == ""
