"""Which run's model is the best one: by validation accuracy, and by the report's verdict."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from ssl_rot.errors import UserError
from ssl_rot.report.comparison.cell_names import find_cell_rows, setting_columns
from ssl_rot.report.comparison.columns import ARM, PHASE, SEED, VALIDATION
from ssl_rot.report.comparison.contrasts import name_arm, name_verdict
from ssl_rot.report.comparison.params import SEEDS, effective_params, params_as_text
from ssl_rot.report.comparison.verdicts import BETTER, EQUIVALENT, WORSE
from ssl_rot.report.page.rendering import Report


@dataclass(frozen=True)
class Chosen:
    """The run whose model is wanted.

    Args:
        reason: why, as the end of a sentence.
        tags: the verdict behind it, for the registry.
    """

    run_id: str
    reason: str
    tags: dict[str, str] = field(default_factory=dict)


def choose_by_validation(runs: pd.DataFrame) -> Chosen | None:
    """The best run of the setting with the best mean validation accuracy over its seeds.

    Settings that finished with fewer seeds than others are not chosen. Test accuracies play no
    part; without validation accuracies nothing is chosen.

    Args:
        runs: from :func:`ssl_rot.report.load_runs`.
    """
    finished = runs[(runs[PHASE] == "downstream") & (runs["status"] == "FINISHED")]
    if VALIDATION not in finished or finished[VALIDATION].isna().any() or finished.empty:
        return None
    columns = [column for column in effective_params(finished.columns) if column not in SEEDS]
    settings = params_as_text(finished, [*columns, ARM]).agg("\x1f".join, axis=1)
    table = finished.groupby(settings)[VALIDATION].agg(["mean", "count"])
    mean = table["mean"].round(9).where(table["count"] == table["count"].max())
    best = finished[settings == mean.idxmax()]
    run = _best_run(best)
    settings_tried = "the only setting" if len(table) == 1 else f"the best of {len(table)} settings"
    reason = (
        f"{name_arm(run[ARM])}, seed {run[SEED]}, {settings_tried}: mean validation accuracy "
        f"{mean.max():.4f}"
    )
    return Chosen(str(run["run_id"]), reason)


def _best_run(runs: pd.DataFrame) -> pd.Series[Any]:
    """The one with the best validation accuracy; of several, that with the lowest seed."""
    by_seed = runs.sort_values(SEED, key=pd.to_numeric)
    return by_seed.iloc[int(by_seed[VALIDATION].argmax())]


def choose_by_verdict(found: Report, planned_seeds: int | None, *, anyway: bool) -> Chosen:
    """The arm that the report's verdict advises, at its chosen setting, and its best run there.

    The best run is the one with the best validation accuracy, or without a validation split the
    one with the lowest seed: test accuracies choose no run.

    Args:
        anyway: takes the arm that was tried though the verdict is interim, undecided, or based on
            too few runs.

    Raises:
        UserError: the verdict advises no arm, or several, or there are several cells.
    """
    cells = found.cells[~found.cells["is_floor"].astype(bool)]
    names = cells["cell"].unique()
    if cells[setting_columns(cells)].drop_duplicates().shape[0] != 1:
        listed = "".join(f"\n  - {name}" for name in names[:10])
        raise UserError(
            f"a model is chosen from one cell, and this report has {len(names)}; narrow it with "
            f"'where=params.`<key>` = \"<value>\"':{listed}"
        )
    least = int(cells["n"].min())
    if not anyway and planned_seeds is not None and least < planned_seeds:
        raise _refusal(f"the verdict is interim, after {least} of {planned_seeds} seeds")
    decided = cells[cells["verdict"].isin([BETTER, EQUIVALENT, WORSE])]
    if BETTER in decided["verdict"].array:
        rows, side = cells[cells["verdict"] == BETTER], "arm"
    elif len(decided) == len(cells):
        rows, side = cells, "reference"
    elif anyway:
        rows, side = cells[cells["verdict"] != WORSE], "arm"
    else:
        raise _refusal(f"the verdict is: {', '.join(cells['verdict'].unique())}")
    return _choose_run(found, rows, side)


def _refusal(reason: str) -> UserError:
    return UserError(
        f"{reason}. More seeds may settle it; register_anyway=true registers a model all the same"
    )


def _choose_run(found: Report, rows: pd.DataFrame, side: str) -> Chosen:
    """The run with the best validation accuracy among those of one side of some rows."""
    pairs = found.pairs[found.pairs["left_out"] == ""]
    of_cell = find_cell_rows(pairs, found.cells)
    ids = pairs.loc[of_cell.isin(rows.index), f"{side}_run_id"].unique()
    runs = found.runs[found.runs["run_id"].isin(ids)]
    arms = sorted(runs[ARM].unique())
    has_validation = VALIDATION in runs and runs[VALIDATION].notna().all()
    if len(arms) > 1 and not has_validation:
        raise UserError(
            f"{' and '.join(map(name_arm, arms))} {'both' if len(arms) == 2 else 'all'} qualify, "
            "and without a validation split nothing chooses between them; "
            'narrow the report with \'where=tags.`ssl_rot.arm` IN ("supervised", "<arm>")\''
        )
    if has_validation:
        arm = runs.groupby(ARM)[VALIDATION].mean().idxmax()
        of_arm = runs[runs[ARM] == arm]
        run = _best_run(of_arm)
        how = f"validation accuracy {run[VALIDATION]:.4f}"
    else:
        arm = arms[0]
        run = runs.iloc[int(runs[SEED].astype(int).argmin())]
        how = "the lowest seed, as no validation split chooses one"
    row = rows[rows["arm"] == arm].iloc[0] if side == "arm" else rows.iloc[0]
    verdict = name_verdict(row["verdict"], row["arm"], row["reference"])
    tags = {
        "ssl_rot.arm": str(arm),
        "ssl_rot.reference": str(row["reference"]),
        "ssl_rot.verdict": verdict,
        "ssl_rot.metric": str(row["metric"]),
        "ssl_rot.difference": f"{row['difference']:+.4f}",
        "ssl_rot.interval": f"[{row['low']:+.4f}, {row['high']:+.4f}]",
        "ssl_rot.n": str(row["n"]),
        "ssl_rot.cell": str(row["cell"]),
        "ssl_rot.setting": str(row.get(f"{side}_chosen") or "not tuned"),
    }
    reason = f"{name_arm(str(arm))}, seed {run[SEED]} ({how}); verdict: {verdict}"
    return Chosen(str(run["run_id"]), reason, tags)
