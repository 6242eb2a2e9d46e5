"""Pairs rotation runs with the supervised-only runs that match them in all but the pretext."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ssl_rot.errors import ConfigError, TrackingError
from ssl_rot.report.comparison.columns import ARM, ARM_NAMES, PAIR_KEY, PHASE, SEED, THREADS
from ssl_rot.report.comparison.costs import pair_costs
from ssl_rot.report.comparison.curves import split_histories
from ssl_rot.report.comparison.exclusions import (
    explain_missing_partners,
    explain_refused_pairs,
    explain_unusable_runs,
)
from ssl_rot.report.comparison.params import content_keys, effective_params, number_cells


def pair_runs(
    runs: pd.DataFrame, histories: pd.DataFrame | None = None, metric: str = "test_acc"
) -> pd.DataFrame:
    """Pairs runs that have the same ``pair_key``, which includes the seed.

    One supervised-only run may be the partner of several rotation runs with different pretexts.

    Args:
        runs: from :func:`ssl_rot.report.load_runs`.
        histories: from :func:`ssl_rot.report.load_histories`; without them the columns from
            ``epochs_to_match`` on are NaN.
        metric: the metric that is compared, by its value at the last epoch; ends in ``_acc`` or
            ``_loss``.

    Returns:
        One row per pair, and one for each run that is in no pair:

        - ``left_out``: empty, or why the row is not compared
        - ``cell``: number of the cell: all pairs that differ in nothing but the seed, by their
          params and ``content_key`` (data, initial weights, precision, and custom code)
        - ``seed``; ``rotation_run_id``, ``rotation_run_name``, and the same for ``supervised``
        - ``metric``; ``rotation``, ``supervised``: its value at the last epoch; ``difference``:
          rotation minus supervised
        - ``rotation_threads``, ``supervised_threads``: torch's threads on the CPU, if recorded;
          ``remark``: what may disturb the comparison, or empty
        - ``epochs_to_match``: first epoch at which the rotation run is as good as its partner at
          the last one
        - ``supervised_epochs``: how many epochs the partner was trained for
        - ``pretext_run_id``, ``pretext_acc``, ``pretext_images``, ``pretext_seconds``,
          ``pretext_shared_by`` (the finished runs in ``runs`` that started from it)
        - ``rotation_images``, ``rotation_seconds``, ``supervised_images``,
          ``supervised_seconds``: of the downstream phase
        - ``equal_images``: a number of images, pretext included, that both arms processed and that
          takes both to the end of their training, or NaN; ``equal_images_difference``: the
          difference of the metric there; ``equal_images_run_id``: the supervised-only run used,
          which may differ from the partner in ``schedule.epochs``
        - ``params.*`` of the rotation run

    Raises:
        ConfigError: the metric is not an accuracy or a loss, or no run has it.
        TrackingError: there are runs of one arm only.
    """
    check_metric(runs, metric)
    downstream = runs[runs[PHASE] == "downstream"].set_index("run_id")
    for arm, name in ARM_NAMES.items():
        if not (downstream[ARM] == arm).any():
            raise TrackingError(
                f"There are {len(downstream)} downstream runs, but none of the {name} arm. "
                f"Train it: python -m ssl_rot.run +experiment={arm}, with the "
                "overrides and the seeds of the other arm"
            )
    curves = split_histories(histories) if histories is not None else {}
    reasons = explain_unusable_runs(downstream, metric, curves)
    usable = downstream[reasons == ""]
    rotation, supervised = (usable[usable[ARM] == arm] for arm in ARM_NAMES)

    pairs = rotation.reset_index().merge(
        pd.DataFrame({PAIR_KEY: supervised[PAIR_KEY], "partner": supervised.index}), on=PAIR_KEY
    )
    partners = supervised.loc[pairs["partner"]].reset_index(names="run_id")
    table = pd.DataFrame(
        {
            "left_out": explain_refused_pairs(pairs, partners),
            "cell": number_cells(pairs, effective_params(pairs.columns)),
        }
    )
    # One refused pair casts doubt on its whole cell.
    refusals = table["left_out"].where(table["left_out"] != "")
    table["left_out"] = refusals.groupby(table["cell"]).transform("first").fillna("")
    table["seed"] = pairs[SEED]
    table["content_key"] = content_keys(pairs)
    for arm, side in (("rotation", pairs), ("supervised", partners)):
        table[f"{arm}_run_id"] = side["run_id"]
        table[f"{arm}_run_name"] = side["run_name"]
        table[arm] = side[f"metrics.{metric}"].astype(float)
        table[f"{arm}_threads"] = side.get(THREADS)
    table["difference"] = table["rotation"] - table["supervised"]
    threads = table[["rotation_threads", "supervised_threads"]]
    differ = threads.notna().all(axis=1) & (threads.nunique(axis=1) > 1)
    table["remark"] = np.where(
        differ, "the arms were trained with different numbers of threads", ""
    )
    table = table.join(pair_costs(pairs, partners, runs, supervised, curves, metric))
    table = table.join(pairs.filter(like="params."))
    table = table.sort_values(["cell", "seed"], key=lambda c: pd.to_numeric(c, errors="coerce"))

    unpaired = usable.drop(index=[*pairs["run_id"].unique(), *pairs["partner"].unique()])
    reasons.update(explain_missing_partners(unpaired, rotation, supervised))
    table = pd.concat([table, _rows_without_pair(downstream, reasons)], ignore_index=True)
    table = table.fillna({"remark": ""})
    table.insert(3, "metric", metric)
    # `runs` also has columns for the params of other kinds of runs, such as a sweep's.
    params = table.filter(like="params.")
    return table.drop(columns=params.columns[params.isna().all()])


def check_metric(runs: pd.DataFrame, metric: str) -> None:
    """Refuses a metric that no run has, or for which it is not known what is better."""
    logged = (column.removeprefix("metrics.") for column in map(str, runs.filter(like="metrics.")))
    comparable = sorted(m for m in logged if m.endswith(("_acc", "_loss")) and "/" not in m)
    if metric not in comparable:
        known = ", ".join(comparable)
        raise ConfigError([f"metric={metric} is not allowed; the runs have: {known}"])


def _rows_without_pair(downstream: pd.DataFrame, reasons: pd.Series[str]) -> pd.DataFrame:
    left_out = downstream[reasons.reindex(downstream.index) != ""]
    rows = pd.DataFrame({"left_out": reasons[left_out.index], "seed": left_out.get(SEED)})
    for arm in ARM_NAMES:
        of_arm = left_out[left_out[ARM] == arm]
        rows[f"{arm}_run_id"] = pd.Series(of_arm.index, index=of_arm.index)
        rows[f"{arm}_run_name"] = of_arm["run_name"]
    return pd.concat([rows, left_out.filter(like="params.")], axis=1)
