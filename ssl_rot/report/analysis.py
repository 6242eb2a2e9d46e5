"""From runs to the answer: choose settings, pair, compare, and put it into words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from ssl_rot.report.comparison.basis import plural
from ssl_rot.report.comparison.cell_statistics import MARGIN, compare
from ssl_rot.report.comparison.columns import PHASE
from ssl_rot.report.comparison.exclusions import exclude_incomplete_seeds
from ssl_rot.report.comparison.floors import add_floors
from ssl_rot.report.comparison.hits import BALANCED, Hits, add_balanced_accuracy
from ssl_rot.report.comparison.label_budgets import count_labels
from ssl_rot.report.comparison.pairing import check_metric, pair_runs
from ssl_rot.report.comparison.recalls import compare_recalls
from ssl_rot.report.comparison.selection import Selection, select_settings
from ssl_rot.report.comparison.tuned_settings import tuned_keys
from ssl_rot.report.load.histories import COSTS, CURVES, load_histories
from ssl_rot.report.load.predictions import load_predictions
from ssl_rot.report.page.headline import write_headline
from ssl_rot.report.page.rendering import Report
from ssl_rot.report.page.tuning import describe_tuning


@dataclass(frozen=True)
class Question:
    """What is compared and how: the keys of ``conf/report.yaml`` that bear on the answer."""

    metric: str = "test_acc"
    reference: str = "none"
    contrasts: str = "reference"
    select: Sequence[str] | str | None = "auto"
    by: Sequence[str] | None = None
    margin: float | None = MARGIN
    interval: str = "two_way"
    planned_seeds: int | None = None


def answer(runs: pd.DataFrame, question: Question, scope: str, own_command: str) -> Report:
    """Answers the question from the runs of :func:`ssl_rot.report.load_runs`.

    Args:
        scope: which runs these are; the number of pairs and cells is added to it.
        own_command: the command that produces this report.

    Raises:
        UserError: the runs do not have what the question names, or are of one arm only.
    """
    metric, by = question.metric, question.by
    downstream = runs[runs[PHASE] == "downstream"]
    hits: Hits = {}
    if metric == BALANCED:
        hits = _load_hits(downstream, runs)
        runs = add_balanced_accuracy(runs, hits) if hits else runs
    check_metric(runs, metric)
    selection = _select(runs, question)
    compared = runs if selection is None else selection.runs
    names = [name for name in dict.fromkeys([*CURVES, *COSTS, metric]) if name != BALANCED]
    histories = load_histories(compared, names)
    pairs = pair_runs(
        compared, histories, metric, reference=question.reference, contrasts=question.contrasts
    )
    if metric != BALANCED:
        ids = {*pairs["arm_run_id"], *pairs["reference_run_id"]}
        hits = _load_hits(downstream[downstream["run_id"].isin(list(ids))], runs)
    cells = compare(pairs, by, margin=question.margin, interval=question.interval, predictions=hits)
    pairs = exclude_incomplete_seeds(pairs, by)
    cells = add_floors(cells, pairs, runs)
    recalls = compare_recalls(cells, pairs, hits)
    trials = None if selection is None else selection.trials
    count = int((pairs["left_out"] == "").sum())
    return Report(
        runs=runs,
        histories=histories,
        pairs=pairs,
        cells=cells,
        headline=write_headline(cells, question.planned_seeds, recalls, trials),
        tuning=describe_tuning(runs, selection),
        trials=trials,
        recalls=recalls,
        scope=f"{scope}: {plural(count, 'pair')} in {plural(len(cells), 'cell')}."
        + count_labels(runs),
        own_command=own_command,
    )


def _select(runs: pd.DataFrame, question: Question) -> Selection | None:
    keys = tuned_keys(runs) if question.select == "auto" else question.select
    if not keys:
        return None
    return select_settings(runs, list(keys), question.metric)


def _load_hits(downstream: pd.DataFrame, runs: pd.DataFrame) -> Hits:
    finished = downstream[downstream["status"] == "FINISHED"]
    if "artifact_uri" not in finished:
        return {}
    locations = zip(finished["run_id"], finished["artifact_uri"], strict=True)
    return load_predictions(locations, runs.attrs.get("uri"))
