"""The keys of a config that are in no signature, and the values that torch's classes accept."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ssl_rot.option_types import ArmName, Count, Fraction, Init, Positive, Seed, Text

GROUPS = ("dataset", "model", "head", "loss", "schedule", "freeze", "pretext")

TOP_LEVEL: dict[str, Any] = {
    "seed": Seed,
    "tune_seeds": Count,
    "device": Literal["auto", "cpu", "cuda", "mps"],
    "precision": Literal["auto", "fp32", "bf16"],
    "compile": bool,
    "sync_batchnorm": bool,
    "profile": bool,
    "figures": Literal["auto", True, False],
    "log_model": Literal["best", "all", "none"],
    "floors": bool,
    "system_metrics": bool,
    "monitor": Sequence[Literal["knn", "rank"]],
    "resume": bool,
    "dry_run": bool,
}

SECTIONS: dict[str, dict[str, Any]] = {
    "monitoring": {"every": Count, "split": Literal["val", "test"]},
    "checkpoint": {"every": Count, "keep": Count | None},
    "tracking": {"experiment_name": Text, "uri": Text | None, "parent_run_id": Text | None},
}

# Keys of a group that are read by its builder, whatever the target.
BUILDER_KEYS: dict[str, dict[str, Any]] = {
    "model": {"init": Init, "weights": Text | None, "cut": Text | None},
    "head": {"init": Init},
    "pretext": {"name": ArmName},
}

# Arguments that torch does not check: it computes nonsense or fails much later.
TORCH_ARGUMENTS: dict[str, dict[str, Any]] = {
    "torch.nn.CrossEntropyLoss": {"label_smoothing": Fraction},
    "torch.optim.lr_scheduler.CosineAnnealingLR": {"T_max": Count},
    "torch.optim.lr_scheduler.ExponentialLR": {"gamma": Positive},
    "torch.optim.lr_scheduler.MultiStepLR": {"milestones": Sequence[Count], "gamma": Positive},
    "torch.optim.lr_scheduler.OneCycleLR": {"cycle_momentum": bool},
    "torch.optim.lr_scheduler.StepLR": {"step_size": Count, "gamma": Positive},
}


def has_pretext(config: Mapping[str, Any]) -> bool:
    """Whether there is a pretext phase; the other keys of ``pretext=none`` have no effect."""
    return bool(config["pretext"]["_target_"] != "ssl_rot.pretext.NoPretext")


def pretext_seed(config: Mapping[str, Any]) -> int:
    """The seed of the pretext phase: ``pretext.seed``, or with null the ``seed`` of the run."""
    own = config["pretext"].get("seed")
    seed: int = config["seed"] if own is None else own
    return seed
