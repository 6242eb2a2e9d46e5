"""Validation of a whole config, before anything is built: every fault at once.

Three nets, each for what the one before cannot see: the ranges of known keys, the signatures of
what ``_target_`` names (a misspelt key in a partial would otherwise build silently), and a trial
build of everything cheap on torch's meta device, which takes neither memory nor time.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ssl_rot.config.params import flatten
from ssl_rot.config.ranges import out_of_range
from ssl_rot.errors import ConfigError, UserError
from ssl_rot.models import build_backbone, build_head

TOP_LEVEL = (
    *("dataset", "model", "head", "loss", "schedule", "freeze", "pretext"),
    *("seed", "device", "precision", "compile", "sync_batchnorm", "profile"),
    *("resume", "checkpoint", "tracking"),
)

SECTIONS = {
    "tracking": {"experiment_name", "uri", "parent_run_id"},
    "checkpoint": {"every", "keep"},
}

# Arguments that a group's target is given besides its keys, and keys that its builder keeps.
SUPPLIED = {
    "dataset": {"seed"},
    "model": {"in_channels"},
    "head": {"in_channels", "num_classes"},
}
KEPT = {"model": ["init", "weights", "cut"], "head": ["init"]}


def validate(cfg: DictConfig) -> dict[str, Any]:
    """Refuses a config with any fault.

    Returns:
        The config, resolved.

    Raises:
        ConfigError: lists every fault found: the key, its value, and what is allowed.
    """
    raw: dict[str, Any] = OmegaConf.to_container(cfg)  # type: ignore[assignment]
    missing = sorted(key for key, value in flatten(raw).items() if value == "???")
    faults = [f"{key} is not set; give it with {key}=..." for key in missing]
    filled = cfg.copy()
    for key in missing:  # an interpolation of a key that is not set would hide the other faults
        OmegaConf.update(filled, key, "?")
    try:
        config: dict[str, Any] = OmegaConf.to_container(filled, resolve=True)  # type: ignore[assignment]
    except OmegaConfBaseException as error:
        at = getattr(error, "full_key", None)
        raise ConfigError([*faults, f"{at}: {str(error).splitlines()[0]}"]) from error
    faults += _unknown_keys(config)
    faults += out_of_range({k: v for k, v in flatten(config).items() if k not in missing})
    faults += _early_stop(config)
    faults += _device(config)
    if not faults:  # a trial build would only repeat, less clearly, what has been said
        faults += _trial(cfg)
    if faults:
        raise ConfigError(faults)
    return config


def _closest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}? " if close else ""


def _unknown_keys(config: dict[str, Any]) -> Iterator[str]:
    for key in config:
        if key not in TOP_LEVEL:
            yield f"{key} is no key of ours; {_closest(key, list(TOP_LEVEL))}allowed: " + ", ".join(
                TOP_LEVEL
            )
    for section, keys in SECTIONS.items():
        node = config.get(section)
        for key in sorted(set(node) - keys) if isinstance(node, dict) else ():
            yield f"{section}.{key} is no key of ours; allowed: {', '.join(sorted(keys))}"
    for key in set(TOP_LEVEL[7:]) - set(config):
        yield f"{key} is not set, and belongs to every config"
    for group in TOP_LEVEL[:7]:
        node = config.get(group)
        if not isinstance(node, dict) or "_target_" not in node:
            yield f"{group}={node!r} is not an option of the group: it has no _target_"
        else:
            yield from _signature_faults(group, node)


def _signature_faults(path: str, node: dict[str, Any]) -> Iterator[str]:
    """RunKeys that what ``_target_`` names does not take, here and in every node below."""
    for key, value in node.items():
        if isinstance(value, dict) and "_target_" in value:
            yield from _signature_faults(f"{path}.{key}", value)
    target = node["_target_"]
    try:
        signature = inspect.signature(get_object(target))
    except ValueError:  # a builtin without a signature
        return
    except Exception as error:
        reason = " ".join(str(error).split())
        yield f"{path}._target_={target} cannot be imported: {reason}"
        return
    parameters = signature.parameters.values()
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    supplied = SUPPLIED.get(path, set())
    known = [name for name in named if name not in supplied] + KEPT.get(path, [])
    given = {key for key in node if not (key.startswith("_") and key.endswith("_"))}
    for key in sorted(given - set(known)) if not takes_any else ():
        yield (
            f"{path}.{key} is not a key of {target}; {_closest(key, known)}"
            f"allowed: {', '.join(known) or 'none'}"
        )
    if not node.get("_partial_"):
        needed = {p.name for p in parameters if p.default is p.empty and p.name in known}
        for key in sorted(needed - given):
            yield f"{path}.{key} is not set, and {target} needs it"


def _early_stop(config: dict[str, Any]) -> Iterator[str]:
    for path, schedule in (
        ("schedule", config.get("schedule")),
        ("pretext.schedule", (config.get("pretext") or {}).get("schedule")),
    ):
        stop = schedule.get("early_stop") if isinstance(schedule, dict) else None
        if not isinstance(stop, dict) or stop.get("metric") is None:
            continue
        metric, key = stop["metric"], f"{path}.early_stop"
        on_test = metric in ("test_loss", "test_acc") and stop.get("allow_test") is True
        if metric not in ("val_loss", "val_acc") and not on_test:
            yield f"{key}.metric={metric} is not allowed; it must be val_loss, val_acc or null"
        elif not on_test and config.get("dataset", {}).get("val_fraction") == 0:
            yield (
                f"{key}.metric={metric} needs a validation split, and dataset.val_fraction=0; "
                "set dataset.val_fraction=0.1, say"
            )
        if stop.get("threshold") is None:
            yield f"{key}.threshold=null is not allowed beside {key}.metric={metric}; give a number"


def _device(config: dict[str, Any]) -> Iterator[str]:
    device = config.get("device")
    absent = (device == "cuda" and not torch.cuda.is_available()) or (
        device == "mps" and not torch.backends.mps.is_available()
    )
    if absent:
        yield f"device={device} is not allowed: torch sees no such device here; use auto or cpu"


def _trial(cfg: DictConfig) -> Iterator[str]:
    """Builds what is cheap to build and passes on what it says."""
    model = dict(cfg.model) | {"weights": None}
    # A download is no trial; together with xavier it is refused before there is one.
    if model.get("pretrained") and model.get("init") != "xavier":
        model["pretrained"] = False
    backbone, fault = _built(partial(build_backbone, model, in_channels=3, seed=0))
    stages: tuple[str, ...] | None = None if fault else backbone.stage_names
    parts = {"model": fault}
    parts["head"] = _built(partial(build_head, cfg.head, in_channels=8, num_classes=2, seed=0))[1]
    parts |= {
        group: _built(partial(instantiate, cfg[group]))[1]
        for group in ("loss", "freeze", "pretext")
    }
    yield from (_said(group, error) for group, error in parts.items() if error is not None)
    schedules = {"schedule": cfg.schedule}
    if cfg.pretext.angles:
        schedules["pretext.schedule"] = cfg.pretext.schedule
    for path, node in schedules.items():
        try:
            schedule = instantiate(node)
            # The number of steps is not known yet; few of them would be a special case.
            schedule.build([torch.nn.Parameter(torch.zeros(1))], steps_per_epoch=997)
        except Exception as error:
            yield _said(path, error)
    if stages is not None:
        for key in ("model.cut", "freeze.stage"):
            stage = OmegaConf.select(cfg, key)
            if stage is not None and stage not in stages:
                yield (
                    f"{key}={stage} is not allowed; it must be a stage of the model: "
                    + ", ".join(stages)
                )
            elif stage is not None:
                stages = stages[: stages.index(stage) + 1]  # what is cut off cannot be frozen


def _built(build: Callable[[], Any]) -> tuple[Any, Exception | None]:
    """What ``build`` makes and what it raises; on the meta device if it can do without values."""
    try:
        with torch.device("meta"):
            return build(), None
    except UserError as error:
        return None, error
    except Exception:
        # Some constructors read a tensor's values, which meta tensors have not.
        try:
            return build(), None
        except Exception as error:
            return None, error


def _said(path: str, error: Exception) -> str:
    # Hydra wraps what a target raised, and puts its own words around it.
    cause = error.__cause__ if error.__cause__ is not None else error
    if isinstance(cause, ConfigError):
        return "; ".join(cause.faults)
    text = str(cause) if isinstance(cause, UserError) else str(cause).split("\n")[0]
    return f"{path} cannot be built: {text}"
