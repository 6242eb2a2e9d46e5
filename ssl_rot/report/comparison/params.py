"""Which params of a run can change its result, and which runs agree in them."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from ssl_rot.report.comparison.columns import CONTENT_KEY, PRETEXT_SEED, SEED
from ssl_rot.tracking import WITHOUT_EFFECT

# What may differ within a cell.
SEEDS = (SEED, PRETEXT_SEED, "params.reference.pretext.seed")

# `content_key` identifies these better: by the data's fingerprint and the hash of the weights file.
IDENTIFIED_BY_CONTENT = (
    "model.weights",
    "dataset.name",
    *(f"dataset.{key}" for key in ("root", "labels", "path")),
    *(f"dataset.source.{key}" for key in ("root", "labels", "path")),
)

# What runs of before a key did: they agree with runs that have it so.
_BEFORE_THE_KEY = {"params.dataset.label_fraction": "null"}


def effective_params(columns: Iterable[str]) -> list[str]:
    """The columns of params that can change a result, including the seed and the pretext's.

    The name of an option (``params.model``) is only a label; its content is in the dotted keys.
    """
    keys = [column.removeprefix("params.") for column in columns if column.startswith("params.")]
    return sorted(
        f"params.{key}"
        for key in keys
        if ("." in key or key == "seed")
        and key.partition(".")[0] not in WITHOUT_EFFECT
        and not key.endswith("pretext.reuse")
        and key not in IDENTIFIED_BY_CONTENT
    )


def downstream_params(columns: Iterable[str]) -> list[str]:
    """The effective params less the pretext's: the two runs of a pair must agree in all of them."""
    return [
        column for column in effective_params(columns) if not column.startswith("params.pretext.")
    ]


def params_as_text(runs: pd.DataFrame, params: list[str]) -> pd.DataFrame:
    """The given params of each run; runs of another version may lack some of them."""
    found = runs.reindex(columns=params).astype(object)
    return found.fillna(_BEFORE_THE_KEY).fillna("(absent)").astype(str)


def hash_params(runs: pd.DataFrame, params: list[str]) -> pd.Series[int]:
    """A number for each run; runs that agree in the given params have the same."""
    return pd.util.hash_pandas_object(params_as_text(runs, params), index=False)


def content_keys(runs: pd.DataFrame) -> pd.Series[str]:
    """The ``content_key`` of each run: the same data, initial weights, precision, and code.

    Early runs do not have this tag; a hash of the params that name these things replaces it.
    """
    names = (*IDENTIFIED_BY_CONTENT, "precision", "compile", "sync_batchnorm")
    tags = runs.get(CONTENT_KEY, pd.Series(index=runs.index, dtype=object))
    replacement = hash_params(runs, [f"params.{name}" for name in names])
    return tags.fillna(replacement.astype(str)).astype(str)


def group_keys(runs: pd.DataFrame, params: list[str]) -> list[tuple[int, str]]:
    """A key for each run; runs that agree in the given params and in content have the same."""
    return [*zip(hash_params(runs, params), content_keys(runs), strict=True)]


def number_cells(runs: pd.DataFrame, params: list[str]) -> pd.Series[int]:
    """Numbers the groups of runs that differ in nothing but the seed, in order of appearance."""
    keys = group_keys(runs, [param for param in params if param not in SEEDS])
    return pd.Series(pd.factorize(pd.Series(keys, dtype=object))[0], index=runs.index)
