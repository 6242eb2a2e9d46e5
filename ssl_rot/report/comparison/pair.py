"""Pair: rotation runs and the supervised-only runs that match them in all but the pretext."""

from __future__ import annotations

import pandas as pd

from ssl_rot.errors import ConfigError, TrackingError
from ssl_rot.report.comparison.cost import costs, curves
from ssl_rot.report.comparison.reasons import ARM, ARMS, PAIR, PHASE, differing, partnerless, unfit
from ssl_rot.report.comparison.settings import cells, content, effective


def pair_runs(
    runs: pd.DataFrame, histories: pd.DataFrame | None = None, metric: str = "test_acc"
) -> pd.DataFrame:
    """Pairs by ``pair_key``, the seed included.

    One supervised-only run may be the partner of several rotation runs with different pretexts.

    Args:
        runs: from :func:`ssl_rot.report.load_runs`.
        histories: from :func:`ssl_rot.report.load_histories`; without them the columns from
            ``epochs_to_match`` on are NaN.
        metric: what is compared, its last epoch's value; ends in ``_acc`` or ``_loss``.

    Returns:
        One row a pair, and one for each run that found no place in a pair:

        - ``left_out``: empty, or why this is not compared
        - ``cell``: number of the cell: all pairs that are alike but for the seed, in their params
          and in ``content_key`` (data, starting weights, precision and own code)
        - ``seed``; ``rotation_run_id``, ``rotation_run_name``, and the same of ``supervised``
        - ``metric``; ``rotation``, ``supervised``: its last value; ``difference`` of the two
        - ``epochs_to_match``: first epoch of the rotation run as good as its partner's last
        - ``supervised_epochs``: how many the partner took
        - ``pretext_run_id``, ``pretext_acc``, ``pretext_images``, ``pretext_seconds``,
          ``pretext_shared_by`` (the finished runs in ``runs`` that started from it)
        - ``rotation_images``, ``rotation_seconds``, ``supervised_images``,
          ``supervised_seconds``: of the downstream phase
        - ``equal_images``: a number of images that both arms have processed, pretext included, and
          with which both are at the end of their training, or NaN;
          ``equal_images_difference``: of the metric there; ``equal_images_run_id``: of the
          supervised-only run taken, alike but for ``schedule.epochs``
        - ``params.*`` of the rotation run

    Raises:
        ConfigError: the metric is none of ours, or no run has it.
        TrackingError: there is one arm only.
    """
    check_metric(runs, metric)
    downstream = runs[runs[PHASE] == "downstream"].set_index("run_id")
    for arm, spoken in ARMS.items():
        if not (downstream[ARM] == arm).any():
            raise TrackingError(
                f"There are {len(downstream)} downstream runs, none of them of the {spoken} arm. "
                f"Train it: python -m ssl_rot.run +experiment={arm}, with the "
                "overrides and the seeds of the other arm"
            )
    lines = curves(histories) if histories is not None else {}
    reasons = unfit(downstream, metric, lines)
    usable = downstream[reasons == ""]
    rotation, supervised = (usable[usable[ARM] == arm] for arm in ARMS)

    pairs = rotation.reset_index().merge(
        pd.DataFrame({PAIR: supervised[PAIR], "partner": supervised.index}), on=PAIR
    )
    partners = supervised.loc[pairs["partner"]].reset_index(names="run_id")
    table = pd.DataFrame(
        {"left_out": differing(pairs, partners), "cell": cells(pairs, effective(pairs.columns))}
    )
    # One pair whose arms differ spoils its cell: the others are hardly alike.
    faults = table["left_out"].where(table["left_out"] != "")
    table["left_out"] = faults.groupby(table["cell"]).transform("first").fillna("")
    table["seed"] = pairs["params.seed"]
    table["content_key"] = content(pairs)
    for arm, side in (("rotation", pairs), ("supervised", partners)):
        table[f"{arm}_run_id"] = side["run_id"]
        table[f"{arm}_run_name"] = side["run_name"]
        table[arm] = side[f"metrics.{metric}"].astype(float)
    table["difference"] = table["rotation"] - table["supervised"]
    table = table.join(costs(pairs, partners, runs, supervised, lines, metric))
    table = table.join(pairs.filter(like="params."))
    table = table.sort_values(["cell", "seed"], key=lambda c: pd.to_numeric(c, errors="coerce"))

    alone = usable.drop(index=[*pairs["run_id"].unique(), *pairs["partner"].unique()])
    reasons.update(partnerless(alone, rotation, supervised))
    table = pd.concat([table, _alone(downstream, reasons)], ignore_index=True)
    table.insert(3, "metric", metric)
    # Params of other kinds of runs, as of the sweep's, have columns in `runs` too.
    return table[
        [c for c in map(str, table) if not c.startswith("params.") or table[c].notna().any()]
    ]


def check_metric(runs: pd.DataFrame, metric: str) -> None:
    """Refuses a metric whose better direction we do not know, or that no run has.

    Raises:
        ConfigError: lists those there are.
    """
    logged = (column.removeprefix("metrics.") for column in map(str, runs.filter(like="metrics.")))
    there = sorted(m for m in logged if m.endswith(("_acc", "_loss")) and "/" not in m)
    if metric not in there:
        raise ConfigError([f"metric={metric} is not allowed; the runs have: {', '.join(there)}"])


def better_is_higher(metric: str) -> bool:
    """Whether more of it is better: of an accuracy, not of a loss."""
    return not metric.endswith("_loss")


def _alone(runs: pd.DataFrame, reasons: pd.Series[str]) -> pd.DataFrame:
    """Rows for the runs that are in no pair."""
    left_out = runs[reasons.reindex(runs.index) != ""]
    rows = pd.DataFrame({"left_out": reasons[left_out.index], "seed": left_out.get("params.seed")})
    for arm in ARMS:
        of_arm = left_out[left_out[ARM] == arm]
        rows[f"{arm}_run_id"] = pd.Series(of_arm.index, index=of_arm.index)
        rows[f"{arm}_run_name"] = of_arm["run_name"]
    return pd.concat([rows, left_out.filter(like="params.")], axis=1)
