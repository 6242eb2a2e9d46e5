"""Keys that identify runs: same result, same partner, same pre-training."""

from __future__ import annotations

import hashlib
import inspect
import json
import sysconfig
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.utils import get_object

# Part of every key. Raise it when a config names things differently or gives another result.
RESULTS = 2

# What changes where and how a run is recorded or found again, but not its result. `compile` and
# `sync_batchnorm` do, as a part of the arithmetic.
WITHOUT_EFFECT = (
    "tracking",
    "device",
    "resume",
    "checkpoint",
    "profile",
    "compile",
    "sync_batchnorm",
)


@dataclass(frozen=True)
class RunKeys:
    """Hashes over parts of a resolved config.

    Args:
        config: everything that can change the result, the seed included; of code that is not
            installed, the file that a ``_target_`` is in.
        pair: the same without the pretext. Equal for the two arms of a comparison.
        pretext: what the pretext weights depend on, and nothing else; ``None`` without a pretext.
        content: what the config's names refer to: the data, the weights to start from, own code,
            the arithmetic and ``RESULTS``. Independent of the seed. With the config's values it
            tells what is alike but for some of them.
    """

    config: str
    pair: str
    pretext: str | None
    content: str


def compute_run_keys(
    config: Mapping[str, Any], *, data: str, arithmetic: str, weights: str | None
) -> RunKeys:
    """The keys of one run.

    Args:
        config: the resolved config.
        data: the data set's fingerprint; it stands for ``dataset.root``, which differs by machine,
            and for ``dataset.name``.
        arithmetic: what the precision, and all that changes rounding with it, came to.
        weights: the hash of the file that ``model.weights`` names; it stands for the name.
    """
    basis = {k: _with_code(v) for k, v in config.items() if k not in WITHOUT_EFFECT}
    behind = {"precision": arithmetic, "data": data, "results": RESULTS}
    basis |= behind
    basis["model"]["weights"] = weights
    basis["dataset"].pop("name", None)
    for node in (basis["dataset"], basis["dataset"]["source"]):
        node.pop("root", None)
    pretext = basis.pop("pretext")
    pretext.pop("reuse")
    arm = {"pretext": pretext if pretext["angles"] else None}

    # The label budget and the cut leave the pre-training untouched.
    names = ("dataset", "model", "seed", "precision", "data", "results")
    shared = {k: deepcopy(basis[k]) for k in names}
    shared["dataset"].pop("labels_per_class", None)
    shared["model"].pop("cut", None)
    return RunKeys(
        config=_digest(basis | arm),
        pair=_digest(basis),
        pretext=_digest(shared | arm) if pretext["angles"] else None,
        content=_digest(behind | {"weights": weights, "code": sorted(_own_code(basis | arm))}),
    )


def _with_code(value: Any) -> Any:
    """A copy in which the name of somebody's own code is followed by a hash of its source file.

    What is installed is known by its name; a file that its author is still changing is not.
    """
    if not isinstance(value, Mapping):
        return deepcopy(value)
    node = {key: _with_code(each) for key, each in value.items()}
    if "_target_" in node and (source := _own_source(node["_target_"])) is not None:
        node["_target_"] += "#" + hashlib.sha256(source.read_bytes()).hexdigest()
    return node


def _own_code(value: Any) -> set[str]:
    """Names with a hash behind them, of all of a config that went through :func:`_with_code`."""
    if not isinstance(value, Mapping):
        return set()
    found = set().union(*(_own_code(each) for each in value.values()))
    target = value.get("_target_", "")
    return found | {target} if "#" in target else found


def _own_source(target: str) -> Path | None:
    try:
        source = inspect.getsourcefile(get_object(target))
    except (TypeError, ImportError):  # built in, or refused by the validation
        return None
    path = Path(source or "").resolve()
    ours = path.is_relative_to(Path(__file__).resolve().parents[1])
    installed = {"site-packages", "dist-packages"} & set(path.parts)
    standard = path.is_relative_to(sysconfig.get_path("stdlib"))
    return path if path.is_file() and not (ours or installed or standard) else None


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
