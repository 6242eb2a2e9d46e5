"""What the known keys of a config may be: key, check, and the words for what is allowed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from ssl_rot.errors import as_text

Check = Callable[[Any], bool]


def _number(
    low: float,
    high: float = math.inf,
    *,
    open_low: bool = False,
    null: bool = False,
    whole: bool = False,
    open_high: bool = False,
) -> Check:
    def check(value: Any) -> bool:
        if value is None:
            return null
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
            return False
        above = value > low if open_low else value >= low
        below = value < high if open_high else value <= high
        return math.isfinite(value) and above and below

    return check


def _one_of(*values: Any) -> Check:
    # `type` too, since True == 1
    return lambda value: any(value == v and type(value) is type(v) for v in values)


def _channels(*, positive: bool) -> Check:
    one = _number(0, open_low=positive)
    return lambda value: (
        value is None or (isinstance(value, list) and len(value) > 0 and all(one(v) for v in value))
    )


def _angles(value: Any) -> bool:
    whole = _number(-3600, 3600, whole=True)
    if not isinstance(value, list) or not all(whole(v) and v % 45 == 0 for v in value):
        return False
    return value == [] or len({v % 360 for v in value}) == len(value) >= 2


def _milestones(value: Any) -> bool:
    whole = _number(1, whole=True)
    return isinstance(value, list) and all(whole(v) for v in value)


def _text(value: Any) -> bool:
    return isinstance(value, str) and value.strip() != ""


def _text_or_null(value: Any) -> bool:
    return value is None or _text(value)


_FRACTION = "a number from 0 up to, not including, 1"
_BOOLEAN = (_one_of(True, False), "true or false")

RANGES: tuple[tuple[str, Check, str], ...] = (
    ("seed", _number(0, 2**32 - 1, whole=True), "a whole number from 0 to 4294967295"),
    ("device", _one_of("auto", "cpu", "cuda", "mps"), "auto, cpu, cuda or mps"),
    ("precision", _one_of("auto", "fp32", "bf16"), "auto, fp32 or bf16"),
    ("compile", *_BOOLEAN),
    ("sync_batchnorm", *_BOOLEAN),
    ("profile", *_BOOLEAN),
    ("resume", *_BOOLEAN),
    ("checkpoint.every", _number(1, whole=True), "a whole number of at least 1"),
    ("checkpoint.keep", _number(1, whole=True, null=True),
     "a whole number of at least 1, or null for all"),
    ("tracking.experiment_name", _text, "a name"),
    ("tracking.parent_run_id", _text_or_null, "the id of a sweep's run, or null"),
    ("tracking.uri", _text_or_null, "an MLflow tracking URI or null"),
    ("dataset.name", _text, "a name"),
    ("dataset.labels_per_class", _number(1, whole=True, null=True),
     "a whole number of at least 1, or null for all"),
    ("dataset.val_fraction", _number(0, 1, open_high=True), _FRACTION),
    ("dataset.test_fraction", _number(0, 1, open_low=True, open_high=True, null=True),
     "a number between 0 and 1, or null"),
    ("dataset.unlabelled", _text_or_null, "the name of a folder in dataset.root, or null"),
    ("dataset.train_size", _number(1, whole=True, null=True),
     "a whole number of at least 1, or null for all"),
    ("dataset.image_size", _number(4, 4096, whole=True),
     "a whole number of pixels from 4 to 4096"),
    ("dataset.root", _text_or_null, "a folder"),
    ("dataset.source.root", _text, "a folder; set it with dataset.root"),
    ("dataset.mean", _channels(positive=False), "one number a channel, or null to measure"),
    ("dataset.std", _channels(positive=True),
     "one number above 0 a channel, or null to measure"),
    ("dataset.skip_bad", *_BOOLEAN),
    ("dataset.augment.crop_padding", _number(0, 64, whole=True), "a whole number from 0 to 64"),
    ("dataset.augment.flip", *_BOOLEAN),
    ("*.init", _one_of("default", "xavier"), "default or xavier"),
    ("model.weights", _text_or_null, "a safetensors file, an MLflow run id, or null"),
    ("model.cut", _text_or_null, "a stage of the model, or null"),
    ("model.num_blocks", _number(3, 5, whole=True), "a whole number from 3 to 5"),
    *((f"model.{key}", *_BOOLEAN) for key in ("bias", "large_stem", "shortcut_norm", "pretrained")),
    ("model.width", _number(1, 4096, whole=True), "a whole number of at least 1"),
    ("pretext.angles", _angles, "a list of at least two different multiples of 45, in degrees"),
    ("pretext.reuse", *_BOOLEAN),
    ("*schedule.epochs", _number(1, whole=True), "a whole number of at least 1"),
    ("*schedule.batch_size", _number(1, whole=True), "a whole number of at least 1"),
    ("*schedule.lr", _number(0, open_low=True), "a finite number above 0"),
    ("*schedule.momentum", _number(0, 1, open_high=True), _FRACTION),
    ("*schedule.weight_decay", _number(0), "a finite number of at least 0"),
    ("*schedule.interval", _one_of("epoch", "step"), "epoch or step"),
    ("*schedule.scheduler.T_max", _number(1, whole=True), "a whole number of at least 1"),
    ("*schedule.scheduler.gamma", _number(0, open_low=True), "a finite number above 0"),
    ("*schedule.scheduler.milestones", _milestones, "a list of whole numbers of at least 1"),
    ("*schedule.scheduler.cycle_momentum", *_BOOLEAN),
    ("*schedule.early_stop.threshold", _number(0, null=True), "a number of at least 0, or null"),
    ("*schedule.early_stop.allow_test", *_BOOLEAN),
    ("*loss.alpha", _number(0, open_low=True), "a finite number above 0"),
    ("*loss.gamma", _number(0), "a finite number of at least 0"),
    ("*loss.label_smoothing", _number(0, 1, open_high=True), _FRACTION),
    ("freeze.every", _number(1, whole=True), "a whole number of at least 1"),
    # Nodes: what is below them is checked by its own name, so only a plain value comes here.
    *((key, lambda value: False, "a node with a _target_")
      for key in ("dataset.source", "dataset.augment", "pretext.loss", "pretext.schedule",
                  "*schedule.optimizer", "*schedule.early_stop")),
    ("*schedule.scheduler", lambda value: value is None, "a node with a _target_, or null"),
    ("tracking", lambda value: False, "a node with experiment_name and uri"),
    ("checkpoint", lambda value: False, "a node with every and keep"),
)  # fmt: skip


def out_of_range(flat: Mapping[str, Any]) -> Iterator[str]:
    """A line for each key of a flat config whose value is not allowed."""
    for key, value in flat.items():
        for pattern, check, allowed in RANGES:
            if fnmatchcase(key, pattern) and not check(value):
                yield f"{key}={as_text(value)} is not allowed; it must be {allowed}"
