"""Validation of a whole config, before anything is built: all faults are reported together.

Three checks, each for what the one before cannot see: the keys and values against the signature of
what ``_target_`` names (a misspelled key in a partial would otherwise build silently), rules
between keys, and a trial build of everything cheap on torch's meta device, which takes neither
memory nor time. Values are checked for our own targets and a few of torch's; the author of any
other target decides what it accepts.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ssl_rot.config.params import flatten
from ssl_rot.config.schema import BUILDER_KEYS, GROUPS, SECTIONS, TOP_LEVEL, TORCH_ARGUMENTS
from ssl_rot.config.values import find_value_fault
from ssl_rot.errors import ConfigError, UserError, as_text
from ssl_rot.models import build_backbone, build_head

# Arguments that the program passes to a group's target; the config cannot set them.
SUPPLIED = {
    "dataset": {"seed"},
    "model": {"in_channels"},
    "head": {"in_channels", "num_classes"},
}

# A value that refers to another key: ${.sibling}, ${..key_of_the_parent}, ${any.key}.
REFERENCE = re.compile(r"\$\{(\.*)([\w.]+)\}")


def validate(cfg: DictConfig) -> dict[str, Any]:
    """Refuses a config that has any fault.

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
    faults += _Checker(flatten(raw), missing).check(config)
    faults += _early_stop(config)
    faults += _device(config)
    if not faults:  # a trial build would only repeat the same faults, less clearly
        faults += _trial_build_faults(cfg)
    if faults:
        raise ConfigError(faults)
    return config


class _Checker:
    """Keys and values against signatures.

    Args:
        raw: the flat config before its references are resolved.
        reported: keys that are not checked again.
    """

    def __init__(self, raw: Mapping[str, Any], reported: Iterable[str]) -> None:
        self._raw = raw
        self._reported = set(reported)

    def check(self, config: Mapping[str, Any]) -> Iterator[str]:
        known = [*GROUPS, *TOP_LEVEL, *SECTIONS]
        for key in config:
            if key not in known:
                allowed = ", ".join(known)
                yield f"{key} is not a known key; {_closest(key, known)}allowed: {allowed}"
        for key in known[len(GROUPS) :]:
            if key not in config:
                yield f"{key} is not set, and belongs to every config"
        for key, annotation in TOP_LEVEL.items():
            if key in config:
                yield from self._value_faults(key, config[key], annotation)
        for section, types in SECTIONS.items():
            yield from self._section_faults(section, types, config.get(section, {}))
        for group in GROUPS:
            node = config.get(group)
            if not isinstance(node, dict) or "_target_" not in node:
                yield f"{group}={node!r} is not an option of the group: it has no _target_"
            else:
                yield from self._node_faults(group, node)

    def _section_faults(self, section: str, types: Mapping[str, Any], node: Any) -> Iterator[str]:
        if not isinstance(node, dict):
            keys = " and ".join(types)
            yield f"{section}={as_text(node)} is not allowed; it must be a node with {keys}"
            return
        for key in sorted(set(node) - set(types)):
            yield f"{section}.{key} is not a known key; allowed: {', '.join(sorted(types))}"
        for key in types.keys() & node.keys():
            yield from self._value_faults(f"{section}.{key}", node[key], types[key])

    def _node_faults(self, path: str, node: Mapping[str, Any]) -> Iterator[str]:
        """Keys and values that a node's target does not accept, and those of the nodes below."""
        target = node["_target_"]
        try:
            signature = inspect.signature(get_object(target), eval_str=_is_ours(target))
        except ValueError:  # a builtin without a signature
            signature = None
        except Exception as error:
            reason = " ".join(str(error).split())
            yield f"{path}._target_={target} cannot be imported: {reason}"
            return
        if signature is not None:
            yield from _key_faults(path, node, signature)
        types = dict(TORCH_ARGUMENTS.get(target, {}))
        if signature is not None and _is_ours(target):
            types |= {p.name: p.annotation for p in signature.parameters.values()}
        types |= BUILDER_KEYS.get(path, {})
        for key, annotation in types.items():
            if key in node:
                yield from self._value_faults(f"{path}.{key}", node[key], annotation)
        for key, value in node.items():
            if isinstance(value, dict) and "_target_" in value:
                yield from self._node_faults(f"{path}.{key}", value)

    def _value_faults(self, key: str, value: Any, annotation: Any) -> Iterator[str]:
        key = self._origin(key)
        if key in self._reported:
            return
        allowed = find_value_fault(value, annotation)
        if allowed is not None:
            self._reported.add(key)
            yield f"{key}={as_text(value)} is not allowed; it must be {allowed}"

    def _origin(self, key: str) -> str:
        """The key that sets the value: ``dataset.root`` for ``dataset.source.root``."""
        while match := REFERENCE.fullmatch(str(self._raw.get(key, ""))):
            dots, name = match.groups()
            parents = key.split(".")[: -len(dots)] if dots else []
            key = ".".join([*parents, name])
        return key


def _is_ours(target: str) -> bool:
    return target.startswith("ssl_rot.")


def _closest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}? " if close else ""


def _key_faults(path: str, node: Mapping[str, Any], signature: inspect.Signature) -> Iterator[str]:
    target = node["_target_"]
    parameters = signature.parameters.values()
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    supplied = SUPPLIED.get(path, set())
    known = [name for name in named if name not in supplied] + list(BUILDER_KEYS.get(path, {}))
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


def _trial_build_faults(cfg: DictConfig) -> Iterator[str]:
    """Builds what is cheap to build and reports what fails."""
    model = dict(cfg.model) | {"weights": None}
    # A trial build downloads nothing; with xavier, pretrained is refused before any download.
    if model.get("pretrained") and model.get("init") != "xavier":
        model["pretrained"] = False
    backbone, fault = _try_build(partial(build_backbone, model, in_channels=3, seed=0))
    stages: tuple[str, ...] | None = None if fault else backbone.stage_names
    parts = {"model": fault}
    parts["head"] = _try_build(partial(build_head, cfg.head, in_channels=8, num_classes=2, seed=0))[
        1
    ]
    parts |= {
        group: _try_build(partial(instantiate, cfg[group]))[1]
        for group in ("loss", "freeze", "pretext")
    }
    yield from (
        _describe_build_error(group, error) for group, error in parts.items() if error is not None
    )
    schedules = {"schedule": cfg.schedule}
    if cfg.pretext.angles:
        schedules["pretext.schedule"] = cfg.pretext.schedule
    for path, node in schedules.items():
        try:
            schedule = instantiate(node)
            # The number of steps is not known yet; few of them would be a special case.
            schedule.build([torch.nn.Parameter(torch.zeros(1))], steps_per_epoch=997)
        except Exception as error:
            yield _describe_build_error(path, error)
    if stages is not None:
        for key in ("model.cut", "freeze.stage"):
            stage = OmegaConf.select(cfg, key)
            if stage is not None and stage not in stages:
                yield (
                    f"{key}={stage} is not allowed; it must be a stage of the model: "
                    + ", ".join(stages)
                )
            elif stage is not None:
                stages = stages[
                    : stages.index(stage) + 1
                ]  # a stage that is cut off cannot be frozen


def _try_build(build: Callable[[], Any]) -> tuple[Any, Exception | None]:
    """What ``build`` returns and what it raises; on the meta device unless values are needed."""
    try:
        with torch.device("meta"):
            return build(), None
    except UserError as error:
        return None, error
    except Exception:
        # Some constructors read the values of a tensor, and meta tensors have none.
        try:
            return build(), None
        except Exception as error:
            return None, error


def _describe_build_error(path: str, error: Exception) -> str:
    # Hydra wraps what a target raised in an exception of its own.
    cause = error.__cause__ if error.__cause__ is not None else error
    if isinstance(cause, ConfigError):
        return "; ".join(cause.faults)
    text = str(cause) if isinstance(cause, UserError) else str(cause).split("\n")[0]
    return f"{path} cannot be built: {text}"
