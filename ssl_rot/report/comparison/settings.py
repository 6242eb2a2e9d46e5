"""Which params of a run can make its result differ."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from ssl_rot.tracking import Tag

# Where and how a run is recorded or found again.
WITHOUT_EFFECT = ("tracking.", "checkpoint.", "pretext.reuse")
# `content_key` holds these in a better form: the hash of the weights file, the data's fingerprint.
BY_NAME = ("model.weights", "dataset.name", "dataset.root", "dataset.source.root")
CONTENT = f"tags.{Tag.CONTENT_KEY}"


def effective(columns: Iterable[str]) -> list[str]:
    """The columns of params that can make a result differ, the seed's and the pretext's included.

    An option's name (``params.model``) is a label; what it stands for is in the dotted keys.
    """
    names = [c.removeprefix("params.") for c in columns if c.startswith("params.")]
    return sorted(
        f"params.{name}"
        for name in names
        if ("." in name or name == "seed")
        and not name.startswith(WITHOUT_EFFECT)
        and name not in BY_NAME
    )


def beside_pretext(columns: Iterable[str]) -> list[str]:
    """The same without the pretext's: what must be alike in both arms."""
    return [column for column in effective(columns) if not column.startswith("params.pretext.")]


def fingerprints(runs: pd.DataFrame, keys: list[str]) -> pd.Series[int]:
    """A number for each run, equal where the ``keys`` are."""
    return pd.util.hash_pandas_object(as_text(runs, keys), index=False)


def content(runs: pd.DataFrame) -> pd.Series[str]:
    """The ``content_key`` of each run: equal where data, starting weights, precision and code are.

    Of a run from before there was this tag, what stands for it is what its params name.
    """
    names = [f"params.{name}" for name in (*BY_NAME, "precision", "compile", "sync_batchnorm")]
    given = runs.get(CONTENT, pd.Series(index=runs.index, dtype=object))
    return given.fillna(fingerprints(runs, names).astype(str)).astype(str)


def alike(runs: pd.DataFrame, keys: list[str]) -> list[tuple[int, str]]:
    """Equal for runs that agree in the params ``keys`` and in their :func:`content`."""
    return [*zip(fingerprints(runs, keys), content(runs), strict=True)]


def cells(runs: pd.DataFrame, keys: list[str]) -> pd.Series[int]:
    """Numbers what is alike in all of this but the seed, in order of appearance."""
    groups = pd.Series(alike(runs, [key for key in keys if key != "params.seed"]), dtype=object)
    return pd.Series(pd.factorize(groups)[0], index=runs.index)


def as_text(runs: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """The params ``keys`` of each run; a run of another version may lack some."""
    return runs.reindex(columns=keys).astype(object).fillna("(absent)").astype(str)


def better_is_higher(metric: str) -> bool:
    """Whether more of it is better: of an accuracy, not of a loss."""
    return not metric.endswith("_loss")


def spoken(metric: str) -> str:
    """``test accuracy`` for ``test_acc``."""
    return metric.replace("_acc", " accuracy").replace("_", " ")


def unit(metric: str) -> tuple[float, str]:
    """What to multiply a metric by, and the unit of a difference of it then."""
    return (100.0, "percentage points") if metric.endswith("_acc") else (1.0, "units")
