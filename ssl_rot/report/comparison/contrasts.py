"""Which arms are compared with which, and what readers see them called."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from ssl_rot.errors import ConfigError, TrackingError

SUPERVISED = "supervised"
"""The arm without a pretext, ``pretext=none``."""

_SIDES = ["arm", "reference"]
CONTRASTS = ("reference", "all")


class Contrast(NamedTuple):
    """An arm and the one that it is compared with; a difference is the first minus the second."""

    arm: str
    reference: str


def name_arm(arm: str) -> str:
    """The name that readers see."""
    return "supervised-only" if arm == SUPERVISED else arm


def name_verdict(verdict: str, arm: str, reference: str) -> str:
    """``rotation better``: a verdict with the name of the better arm."""
    better = {"better": arm, "worse": reference}.get(verdict)
    return verdict if better is None else f"{name_arm(better)} better"


def name_contrasts(table: pd.DataFrame) -> str:
    """``rotation against supervised-only``, or how several contrasts are called together.

    ``table`` has the columns ``arm`` and ``reference``, where either may be missing.
    """
    arms, references = (table[side].dropna().map(name_arm).unique() for side in table[_SIDES])
    if len(references) != 1:
        return "arms against each other"
    return f"{arms[0] if len(arms) == 1 else f'{len(arms)} arms'} against {references[0]}"


def name_sides(cells: pd.DataFrame) -> tuple[str, str]:
    """What the arm and the reference are called: by their role if they differ between cells."""
    arms, references = (cells[side].map(name_arm).unique() for side in _SIDES)
    return (
        arms[0] if len(arms) == 1 else "arm",
        references[0] if len(references) == 1 else "reference",
    )


def name_difference(cells: pd.DataFrame) -> str:
    """``rotation minus supervised-only``."""
    return " minus ".join(name_sides(cells))


def contrasts_of(table: pd.DataFrame) -> list[Contrast]:
    """The different contrasts of a table with the columns ``arm`` and ``reference``, in order."""
    rows = table[_SIDES].dropna().drop_duplicates()
    return [Contrast(*row) for row in rows.itertuples(index=False)]


def list_contrasts(arms: pd.Series[str], reference: str, contrasts: str) -> list[Contrast]:
    """The contrasts among the arms of some runs.

    Args:
        arms: the arm of each run.
        reference: the arm that all others are compared with; ``none`` is supervised-only.
        contrasts: ``reference``, or ``all`` for every pair of arms, those with the reference first.

    Raises:
        ConfigError: ``contrasts`` is neither of the two.
        TrackingError: there is no run of the reference, or none of another arm. Of all pairs, none
            needs the reference.
    """
    if contrasts not in CONTRASTS:
        allowed = " or ".join(CONTRASTS)
        raise ConfigError([f"contrasts={contrasts} is not allowed; it must be {allowed}"])
    first = SUPERVISED if reference == "none" else reference
    # Rotation is what the project is about; the others follow by name.
    found = sorted(arms.dropna().unique(), key=lambda arm: (arm != first, arm != "rotation", arm))
    if contrasts == "all" and len(found) > 1:
        return [Contrast(arm, other) for n, other in enumerate(found, 1) for arm in found[n:]]
    for missing in (first,) if first not in found else ("rotation",) if len(found) == 1 else ():
        others = [name_arm(arm) for arm in found if arm != first]
        choose = f"; or choose another reference: reference={others[0]}" if len(others) > 1 else ""
        raise TrackingError(
            f"There are {len(arms)} downstream runs, but none of the {name_arm(missing)} arm. "
            f"Train it: python -m ssl_rot.run +experiment={missing}, with the "
            f"overrides and the seeds of the other arm{choose}"
        )
    return [Contrast(arm, first) for arm in found[1:]]
