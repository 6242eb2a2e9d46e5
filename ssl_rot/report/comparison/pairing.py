"""Pairs the runs of an arm with the runs of its reference that match in all but the pretext."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ssl_rot.errors import ConfigError
from ssl_rot.report.comparison.columns import (
    ARM,
    CHOSEN,
    FLOOR_KEY,
    PAIR_KEY,
    PHASE,
    PRETEXT_SEED,
    SEED,
    THREADS,
    TRIALS,
    VARIANCE,
)
from ssl_rot.report.comparison.contrasts import SUPERVISED, Contrast, list_contrasts, name_arm
from ssl_rot.report.comparison.costs import pair_costs
from ssl_rot.report.comparison.curves import Curves, split_histories
from ssl_rot.report.comparison.exclusions import (
    explain_missing_partners,
    explain_refused_pairs,
    explain_unusable_runs,
    find_lost_runs,
)
from ssl_rot.report.comparison.params import content_keys, effective_params, number_cells


def pair_runs(
    runs: pd.DataFrame,
    histories: pd.DataFrame | None = None,
    metric: str = "test_acc",
    *,
    reference: str = "none",
    contrasts: str = "reference",
) -> pd.DataFrame:
    """Pairs runs that have the same ``pair_key``, which includes the seed.

    One run of the reference may be the partner of several runs with different pretexts.

    Args:
        runs: from :func:`ssl_rot.report.load_runs`.
        histories: from :func:`ssl_rot.report.load_histories`; without them the columns from
            ``epochs_to_match`` on are NaN.
        metric: the metric that is compared, by its value at the last epoch; ends in ``_acc`` or
            ``_loss``.
        reference: the arm that the others are compared with; ``none`` is supervised-only.
        contrasts: ``reference``, or ``all`` to compare the other arms with each other too.

    Returns:
        One row per pair, and one for each run that is in no pair:

        - ``left_out``: empty, or why the row is not compared
        - ``arm``, ``reference``: the two arms
        - ``cell``: number of the cell: all pairs that differ in nothing but the seed, by their
          arms, params and ``content_key`` (data, initial weights, precision, and custom code)
        - ``metric``; ``seed``; ``unit``: what is independent from pair to pair, the seed or that of
          a pre-training that several seeds share; ``arm_lost``, ``reference_lost``: why the run
          was lost (it failed, diverged or was killed), else empty; ``is_lost``: whether either was
        - ``arm_run_id``, ``arm_run_name``, and the same for ``reference``
        - ``arm_chosen``, ``arm_trials``, ``arm_selection_variance``, and the same for
          ``reference``: of runs from :func:`ssl_rot.report.select_settings`
        - ``arm_value``, ``reference_value``: the metric at the last epoch; ``difference``: the
          arm's minus the reference's
        - ``arm_threads``, ``reference_threads``: torch's threads on the CPU, if recorded;
          ``remark``: what may disturb the comparison, or empty
        - ``epochs_to_match``: first epoch at which the arm's run is as good as its partner at the
          last one
        - ``reference_epochs``: how many epochs the partner was trained for
        - ``pretext_run_id``, ``pretext_acc``, ``pretext_images``, ``pretext_seconds``,
          ``pretext_shared_by`` (the finished runs in ``runs`` that started from it), all of the
          arm; ``reference_pretext_images``, ``reference_pretext_seconds`` (0 without a pretext)
        - ``arm_images``, ``arm_seconds``, ``reference_images``, ``reference_seconds``: of the
          downstream phase
        - ``equal_images``: a number of images, pretext included, that both arms processed and that
          takes both to the end of their training, or NaN; ``equal_images_difference``: the
          difference of the metric there; ``equal_images_run_id``: the run of the reference used,
          which may differ from the partner in ``schedule.epochs``
        - ``params.*`` of the arm's run; ``params.reference.pretext.*`` of a reference that has a
          pretext

    Raises:
        ConfigError: the metric is not an accuracy or a loss, or no run has it.
        TrackingError: there are runs of one arm only.
    """
    check_metric(runs, metric)
    downstream = runs[runs[PHASE] == "downstream"].set_index("run_id")
    compared = list_contrasts(downstream[ARM], reference, contrasts)
    curves = split_histories(histories) if histories is not None else {}
    reasons = explain_unusable_runs(downstream, metric, curves)
    usable = downstream[reasons == ""]
    is_lost = find_lost_runs(downstream)
    candidates = downstream[(reasons == "") | is_lost].assign(
        lost_because=reasons.where(is_lost, "")
    )
    tables: list[pd.DataFrame] = []
    for contrast in compared:
        table = _pair_contrast(contrast, candidates, runs, curves, metric)
        table["cell"] += sum(other["cell"].nunique() for other in tables)
        tables.append(table)
    table = pd.concat(tables, ignore_index=True)
    table = table.sort_values(["cell", "seed"], key=lambda c: pd.to_numeric(c, errors="coerce"))

    paired = {*table["arm_run_id"], *table["reference_run_id"]}
    unpaired = usable[~usable.index.isin(list(paired))]
    reasons.update(explain_missing_partners(unpaired, usable, compared))
    reasons[reasons.index.isin(list(paired))] = ""  # of a lost run: its pair says why
    alone = _rows_without_pair(downstream, reasons, compared[0].reference)
    table = pd.concat([table, alone], ignore_index=True)
    table = table.fillna({"remark": "", "arm_lost": "", "reference_lost": "", "is_lost": False})
    table = table.astype({"is_lost": bool})
    table.insert(4, "metric", metric)
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


def _pair_contrast(
    contrast: Contrast, candidates: pd.DataFrame, runs: pd.DataFrame, curves: Curves, metric: str
) -> pd.DataFrame:
    """The pairs of one contrast, with cells numbered from 0.

    ``candidates`` are the runs that finished, and those that were lost with ``lost_because``.
    """
    ours, theirs = (candidates[candidates[ARM] == arm] for arm in contrast)
    pairs = ours.reset_index().merge(
        pd.DataFrame({PAIR_KEY: theirs[PAIR_KEY], "partner": theirs.index}), on=PAIR_KEY
    )
    partners = theirs.loc[pairs["partner"]].reset_index(names="run_id")
    params = _cell_params(contrast, pairs, partners)
    table = pd.DataFrame(
        {
            "left_out": explain_refused_pairs(pairs, partners),
            "arm": contrast.arm,
            "reference": contrast.reference,
            "cell": number_cells(
                params.join(pairs.drop(columns=params.columns, errors="ignore")),
                effective_params(params.columns),
            ),
        }
    )
    rivals = theirs[theirs["lost_because"] == ""]
    lost = {"arm": pairs["lost_because"], "reference": partners["lost_because"]}
    # One refused pair casts doubt on its whole cell.
    refusals = table["left_out"].where(table["left_out"] != "")
    table["left_out"] = refusals.groupby(table["cell"]).transform("first").fillna("")
    for side, because in lost.items():
        table[f"{side}_lost"] = because
        name = name_arm(getattr(contrast, side))
        is_new = (because != "") & (table["left_out"] == "")
        table["left_out"] = table["left_out"].mask(is_new, f"the {name} run is " + because)
    table["is_lost"] = (table["left_out"] != "") & ~table["left_out"].str.startswith("refused")
    table["seed"] = pairs[SEED]
    table["unit"] = _units(contrast, pairs)
    table["content_key"] = content_keys(pairs)
    if FLOOR_KEY in partners:
        table["floor_key"] = partners[FLOOR_KEY]
    for side, frame in (("arm", pairs), ("reference", partners)):
        table[f"{side}_run_id"] = frame["run_id"]
        table[f"{side}_run_name"] = frame["run_name"]
        value = frame[f"metrics.{metric}"].astype(float)
        table[f"{side}_value"] = value.where(lost[side] == "")
        table[f"{side}_threads"] = frame.get(THREADS)
        for column in (CHOSEN, TRIALS, VARIANCE):
            if column in frame:
                table[f"{side}_{column}"] = frame[column]
    table["difference"] = table["arm_value"] - table["reference_value"]
    threads = table[["arm_threads", "reference_threads"]]
    differ = threads.notna().all(axis=1) & (threads.nunique(axis=1) > 1)
    table["remark"] = np.where(
        differ, "the arms were trained with different numbers of threads", ""
    )
    table = table.join(pair_costs(pairs, partners, runs, rivals, curves, metric))
    return table.join(params)


def _units(contrast: Contrast, pairs: pd.DataFrame) -> pd.Series[str]:
    """What is independent from pair to pair: the seed, or that of a pre-training several share."""
    shared = pairs.get(PRETEXT_SEED) if contrast.arm != SUPERVISED else None
    return pairs[SEED] if shared is None else shared.mask(shared == "null").fillna(pairs[SEED])


def _cell_params(contrast: Contrast, pairs: pd.DataFrame, partners: pd.DataFrame) -> pd.DataFrame:
    """The params of each pair; without a pretext, the settings of one have no effect."""
    params = pairs.filter(regex=r"^params\.")
    pretext = r"^params\.pretext\."
    if contrast.arm == SUPERVISED:
        params = params.drop(columns=params.filter(regex=pretext).columns)
    if contrast.reference != SUPERVISED:
        theirs = partners.filter(regex=pretext)
        params = params.join(theirs.rename(columns=lambda c: f"params.reference.{c[7:]}"))
    return params


def _rows_without_pair(
    downstream: pd.DataFrame, reasons: pd.Series[str], reference: str
) -> pd.DataFrame:
    left_out = downstream[reasons.reindex(downstream.index) != ""]
    rows = pd.DataFrame({"left_out": reasons[left_out.index], "seed": left_out.get(SEED)})
    for side in ("arm", "reference"):
        of_side = left_out[(left_out[ARM] == reference) == (side == "reference")]
        rows[side] = of_side[ARM]
        rows[f"{side}_run_id"] = pd.Series(of_side.index, index=of_side.index)
        rows[f"{side}_run_name"] = of_side["run_name"]
    return pd.concat([rows, left_out.filter(like="params.")], axis=1)
