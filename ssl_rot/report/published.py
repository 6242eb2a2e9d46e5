"""Our figures beside published ones: RotNet's on CIFAR-10, matched by what a run's config says.

``published.csv`` has the accuracies of Gidaris, Singh and Komodakis (ICLR 2018), and at few labels
those that a later survey gives for them. What names a setting there is compared with the params of
a run; of epochs, of the number of images and of the data, what is not as published is said.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import pandas as pd

from ssl_rot.report.naming import label
from ssl_rot.report.table import Cell, Table, number_cell, text_cell
from ssl_rot.tracking import Tag

# A setting of published.csv is that of a run which has the same in these; the arm decides whether
# there is a pretext.
SETTING = ("head", "freeze", "model.num_blocks", "model.cut", "dataset.labels_per_class")
EPOCHS = ("pretext.schedule.epochs", "schedule.epochs")
DATA = "dataset.name"
SIZE = "dataset.train_size"


def against_published(runs: pd.DataFrame) -> pd.DataFrame:
    """The finished runs that repeat something published.

    Args:
        runs: from :func:`ssl_rot.report.load_runs`.

    Returns:
        A row for each setting, and for each way in which our runs of it differ from what was
        published: ``setting``, ``published`` and ``source``, ``mean`` and ``sd`` of the last
        epoch's test accuracy over ``n`` seeds, all accuracies fractions, and ``otherwise``, which
        names the differences.
    """
    keep = runs[f"tags.{Tag.PHASE}"].eq("downstream") & runs["status"].eq("FINISHED")
    ours = runs[keep].reindex(
        columns=[
            *("params.model", "params.seed", "params.pretext.angles", f"tags.{Tag.ARM}"),
            *(f"params.{key}" for key in (*SETTING, *EPOCHS, DATA, SIZE)),
            "metrics.test_acc",
        ]
    )
    names = ours[f"params.{DATA}"].astype(str).str.lower()
    ours = ours[ours["params.model"].eq("nin") & names.str.startswith(("cifar10", "cifar-10"))]
    ours = ours.fillna({f"params.{key}": "null" for key in (*EPOCHS, SIZE)})
    found = []
    with (files("ssl_rot.report") / "published.csv").open() as file:
        # Compared as the text that MLflow has.
        known = pd.read_csv(file, dtype=str, keep_default_na=False).to_dict("records")
    for row in known:
        pretrained = row["pretext.angles"] != ""
        same = ours[f"tags.{Tag.ARM}"].eq("rotation" if pretrained else "supervised")
        if pretrained:
            same &= ours["params.pretext.angles"].eq(row["pretext.angles"])
        for key in SETTING:
            if row[key] != "":
                same &= ours[f"params.{key}"].eq(row[key])
        found += _groups(row, ours[same])
    columns = ["setting", "published", "source", "mean", "sd", "n", "otherwise"]
    return pd.DataFrame(found, columns=columns)


def _groups(row: dict[Any, str], ours: pd.DataFrame) -> list[dict[str, Any]]:
    keys = [key for key in EPOCHS if row[key] != ""]
    setting = {key: row[key] for key in ("pretext.angles", *SETTING) if row[key] != ""}
    result = []
    for values, group in ours.groupby([f"params.{key}" for key in (*keys, SIZE, DATA)]):
        *epochs, size, data = map(str, values)
        other = {k: f"{v} of {row[k]}" for k, v in zip(keys, epochs, strict=True) if v != row[k]}
        other |= {} if size == "null" else {SIZE: size}
        other |= {} if data == "cifar10" else {DATA: data}
        seeds = group.groupby("params.seed")["metrics.test_acc"].mean()
        result.append(
            {
                "setting": label(setting),
                "published": float(row["accuracy"]) / 100,
                "source": row["source"],
                "mean": seeds.mean(),
                "sd": seeds.std(),
                "n": len(seeds),
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
