"""By what runs are recognised: same result, same partner, same pre-training."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

# What changes where and how a run is recorded or found again, but not its result.
_WITHOUT_EFFECT = ("tracking", "device", "resume", "checkpoint")


@dataclass(frozen=True)
class Keys:
    """Hashes over parts of a resolved config.

    Args:
        config: everything that can change the result, the seed included.
        pair: the same without the pretext. Equal for the two arms of a comparison.
        pretext: what the pretext weights depend on, and nothing else; ``None`` without a pretext.
    """

    config: str
    pair: str
    pretext: str | None


def compute_keys(
    config: Mapping[str, Any], *, data: str, precision: str, weights: str | None
) -> Keys:
    """The keys of one run.

    Args:
        config: the resolved config.
        data: the data set's fingerprint; it stands for ``dataset.root``, which differs by machine,
            and for ``dataset.name``.
        precision: what ``auto`` came to.
        weights: the hash of the file that ``model.weights`` names; it stands for the name.
    """
    basis = {k: deepcopy(v) for k, v in config.items() if k not in _WITHOUT_EFFECT}
    basis |= {"precision": precision, "data": data}
    basis["model"]["weights"] = weights
    basis["dataset"].pop("name", None)
    for node in (basis["dataset"], basis["dataset"]["source"]):
        node.pop("root", None)
    pretext = basis.pop("pretext")
    pretext.pop("reuse")
    arm = {"pretext": pretext if pretext["angles"] else None}

    # The label budget and the cut leave the pre-training untouched.
    shared = {k: deepcopy(basis[k]) for k in ("dataset", "model", "seed", "precision", "data")}
    shared["dataset"].pop("labels_per_class", None)
    shared["model"].pop("cut", None)
    return Keys(
        config=_digest(basis | arm),
        pair=_digest(basis),
        pretext=_digest(shared | arm) if pretext["angles"] else None,
    )


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
