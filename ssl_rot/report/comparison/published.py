"""Our figures beside published ones: RotNet's on CIFAR-10, matched by what a run's config says.

``published.csv`` has the accuracies of Gidaris, Singh and Komodakis (ICLR 2018), and at few labels
those that a later survey gives for them. What names a setting there is compared with the params of
a run; what else is not as published is said.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import pandas as pd

from ssl_rot.report.comparison.naming import label, naming_keys
from ssl_rot.report.comparison.reasons import ARM, PHASE, unfit
from ssl_rot.report.comparison.settings import beside_pretext, cells, content, effective
from ssl_rot.report.page.table import Cell, Table, number_cell, text_cell

# A setting of published.csv is that of a run which has the same in these; the arm decides whether
# there is a pretext.
SETTING = ("head", "freeze", "model.num_blocks", "model.cut", "dataset.labels_per_class")
EPOCHS = ("pretext.schedule.epochs", "schedule.epochs")
DATA = "dataset.name"
SIZE = "dataset.train_size"
# What all of their trainings have in common, as the `rotnet_*` experiments have it.
SCHEDULE = {
    "schedule": "step",
    "schedule.batch_size": "128",
    "schedule.lr": "0.1",
    "schedule.momentum": "0.9",
    "schedule.weight_decay": "0.0005",
    "schedule.optimizer._target_": "torch.optim.SGD",
    "schedule.optimizer.nesterov": "true",
    "schedule.scheduler.gamma": "0.2",
}
RECIPE = SCHEDULE | {
    "loss": "cross_entropy",
    "dataset.image_size": "32",
    "dataset.val_fraction": "0.0",
    "dataset.augment.crop_padding": "4",
    "dataset.augment.flip": "true",
}
PRETEXT_RECIPE = {f"pretext.{key}": value for key, value in SCHEDULE.items() if "." in key}


def against_published(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs that repeat something published, less those that the comparison leaves out too.

    Args:
        runs: from :func:`ssl_rot.report.load_runs`.

    Returns:
        A row for each setting, and for each group of our runs of it that are alike but for the
        seed: ``setting``, ``published`` and ``source``, ``mean`` and ``sd`` of the last epoch's
        test accuracy over ``n`` seeds, all accuracies fractions, and ``otherwise``, which names
        what is not as published and what tells the groups of one setting apart.
    """
    runs = runs.reindex(columns=runs.columns.union(["metrics.test_acc"], sort=False))
    downstream = runs[runs[PHASE] == "downstream"].set_index("run_id")
    ours = downstream[unfit(downstream, "test_acc", {}) == ""]
    needed = ["params.model", "params.pretext.angles"]
    needed += [f"params.{key}" for key in (*SETTING, *EPOCHS, DATA, SIZE)]
    ours = ours.reindex(columns=ours.columns.union(needed, sort=False))
    names = ours[f"params.{DATA}"].astype(str).str.lower()
    ours = ours[ours["params.model"].eq("nin") & names.str.startswith(("cifar10", "cifar-10"))]
    ours = ours.fillna({f"params.{key}": "null" for key in (*EPOCHS, SIZE)})
    found = []
    with (files("ssl_rot.report.comparison") / "published.csv").open() as file:
        # Compared as the text that MLflow has.
        known = pd.read_csv(file, dtype=str, keep_default_na=False).to_dict("records")
    for row in known:
        pretrained = row["pretext.angles"] != ""
        same = ours[ARM].eq("rotation" if pretrained else "supervised")
        if pretrained:
            same &= ours["params.pretext.angles"].eq(row["pretext.angles"])
        for key in SETTING:
            if row[key] != "":
                same &= ours[f"params.{key}"].eq(row[key])
        found += _groups(row, ours[same], pretrained)
    columns = ["setting", "published", "source", "mean", "sd", "n", "otherwise"]
    return pd.DataFrame(found, columns=columns)


def _groups(row: dict[Any, str], ours: pd.DataFrame, pretrained: bool) -> list[dict[str, Any]]:
    recipe = RECIPE | (PRETEXT_RECIPE if pretrained else {})
    recipe |= {key: row[key] for key in EPOCHS if row[key] != ""}
    recipe |= {SIZE: "null", DATA: "cifar10"}
    if not pretrained:  # what stands under `pretext` there is ignored, and tells nothing
        ours = ours.loc[:, ~ours.columns.str.startswith("params.pretext")]
    keys = effective(ours.columns) if pretrained else beside_pretext(ours.columns)
    ours = ours.assign(cell=cells(ours, keys), content_key=content(ours))
    telling = [key.removeprefix("params.") for key in naming_keys(ours, None)]
    setting = {key: row[key] for key in ("pretext.angles", *SETTING) if row[key] != ""}
    result = []
    for _, group in ours.groupby("cell"):
        first = group.rename(columns=lambda column: column.removeprefix("params.")).iloc[0]
        other = {}
        for key in dict.fromkeys([*recipe, *telling]):
            value = first.get(key)
            if key not in setting and isinstance(value, str) and value != recipe.get(key):
                other[key] = f"{value} of {row[key]}" if key in EPOCHS else value
        accuracies = group["metrics.test_acc"]
        result.append(
            {
                "setting": label(setting),
                "published": float(row["accuracy"]) / 100,
                "source": row["source"],
                "mean": accuracies.mean(),
                "sd": accuracies.std(),
                "n": len(group),
                "otherwise": label(other) if other else "",
            }
        )
    return result


def published_table(found: pd.DataFrame) -> Table:
    """For the page and the terminal."""
    columns = [
        ("setting", "what names it in published.csv"),
        ("published (%)", "RotNet: Gidaris et al., ICLR 2018; survey: as a later survey has it"),
        ("source", ""),
        ("here (%)", "last epoch, mean and standard deviation over seeds"),
        ("seeds", ""),
        ("otherwise", "where these runs are not as published"),
    ]
    rows = [
        [
            text_cell(row["setting"]),
            number_cell(100 * row["published"], 2),
            text_cell(row["source"]),
            Cell(
                f"{100 * row['mean']:.2f}" + (f" ± {100 * row['sd']:.2f}" if row["n"] > 1 else ""),
                row["mean"],
            ),
            number_cell(row["n"], 0),
            text_cell(row["otherwise"]),
        ]
        for row in found.to_dict("records")
    ]
    return Table(columns, rows)
