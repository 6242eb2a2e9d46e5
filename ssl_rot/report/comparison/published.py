"""Results next to the published ones that they reproduce: RotNet's on CIFAR-10.

``published.csv`` holds the accuracies of Gidaris, Singh and Komodakis (ICLR 2018), and for few
labels those that a later survey reports for the method. A run reproduces a row if its params agree
with the settings there; all other deviations from the published recipe are listed.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import pandas as pd

from ssl_rot.report.comparison.cell_names import distinguishing_columns, format_settings
from ssl_rot.report.comparison.columns import ARM, PHASE
from ssl_rot.report.comparison.contrasts import SUPERVISED
from ssl_rot.report.comparison.exclusions import explain_unusable_runs
from ssl_rot.report.comparison.params import (
    content_keys,
    downstream_params,
    effective_params,
    number_cells,
)

# A run has a setting of published.csv if it agrees with it in these. Whether there is a pretext is
# decided by its arm.
SETTING = ("head", "freeze", "model.num_blocks", "model.cut", "dataset.labels_per_class")
EPOCHS = ("pretext.schedule.epochs", "schedule.epochs")
DATA = "dataset.name"
SIZE = "dataset.train_size"
WIDTH = "model.width"
# What all the published trainings have in common, with the values of the `rotnet_*` experiments.
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
    """The runs that reproduce a published result, except those that no comparison can use.

    For each published setting, one row per group of runs that differ in nothing but the seed:
    ``setting``, ``published`` and ``source``, ``mean`` and ``sd`` of the last epoch's test accuracy
    over ``n`` seeds, and ``otherwise``: the deviations from the published recipe and what
    distinguishes the groups of one setting. All accuracies are fractions.
    """
    runs = runs.reindex(columns=runs.columns.union(["metrics.test_acc"], sort=False))
    downstream = runs[runs[PHASE] == "downstream"].set_index("run_id")
    usable = downstream[explain_unusable_runs(downstream, "test_acc", {}) == ""]
    keys = ("model", "pretext.angles", *SETTING, *EPOCHS, DATA, SIZE)
    needed = [f"params.{key}" for key in keys]
    usable = usable.reindex(columns=usable.columns.union(needed, sort=False))
    if f"params.{WIDTH}" in usable:
        usable = usable.replace({f"params.{WIDTH}": {"1": "1.0"}})
    names = usable[f"params.{DATA}"].astype(str).str.lower()
    is_cifar10 = names.str.startswith(("cifar10", "cifar-10"))
    candidates = usable[usable["params.model"].eq("nin") & is_cifar10]
    candidates = candidates.fillna({f"params.{key}": "null" for key in (*EPOCHS, SIZE)})
    rows = []
    with (files("ssl_rot.report.comparison") / "published.csv").open() as file:
        # MLflow stores params as text, so they are compared as text.
        published = pd.read_csv(file, dtype=str, keep_default_na=False).to_dict("records")
    for result in published:
        is_pretrained = result["pretext.angles"] != ""
        matches = (
            candidates[ARM].ne(SUPERVISED) if is_pretrained else candidates[ARM].eq(SUPERVISED)
        )
        for key in ("pretext.angles", *SETTING):
            if result[key] != "":
                matches &= candidates[f"params.{key}"].eq(result[key])
        if matches.any():
            rows += _summarize_groups(result, candidates[matches], is_pretrained)
    columns = ["setting", "published", "source", "mean", "sd", "n", "otherwise"]
    return pd.DataFrame(rows, columns=columns)


def _summarize_groups(
    result: dict[Any, str], runs: pd.DataFrame, is_pretrained: bool
) -> list[dict[str, Any]]:
    recipe = RECIPE | (PRETEXT_RECIPE if is_pretrained else {})
    recipe |= {key: result[key] for key in EPOCHS if result[key] != ""}
    recipe |= {SIZE: "null", DATA: "cifar10", WIDTH: "1.0"}
    if not is_pretrained:  # its settings under `pretext` have no effect
        runs = runs.loc[:, ~runs.columns.str.startswith("params.pretext")]
    params = (effective_params if is_pretrained else downstream_params)(runs.columns)
    runs = runs.assign(cell=number_cells(runs, params), content_key=content_keys(runs))
    distinguishing = [key.removeprefix("params.") for key in distinguishing_columns(runs, None)]
    setting = {key: result[key] for key in ("pretext.angles", *SETTING) if result[key] != ""}
    rows = []
    for _, group in runs.groupby("cell"):
        first = group.rename(columns=lambda column: column.removeprefix("params.")).iloc[0]
        deviations = {}
        for key in dict.fromkeys([*recipe, *distinguishing]):
            value = first.get(key)
            if key not in setting and isinstance(value, str) and value != recipe.get(key):
                deviations[key] = f"{value} of {result[key]}" if key in EPOCHS else value
        accuracies = group["metrics.test_acc"]
        rows.append(
            {
                "setting": format_settings(setting),
                "published": float(result["accuracy"]) / 100,
                "source": result["source"],
                "mean": accuracies.mean(),
                "sd": accuracies.std(),
                "n": len(group),
                "otherwise": format_settings(deviations) if deviations else "",
            }
        )
    return rows
