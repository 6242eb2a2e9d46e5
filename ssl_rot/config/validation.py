"""Validation of a whole config, before anything is built: all faults are reported together.

Each step finds what the one before cannot see: keys and values against the signature of what
``_target_`` names (a partial would silently accept a misspelled key), rules between keys, and a
trial build of everything cheap, on torch's meta device. Values are checked for targets of this
package and a few of torch's; the author of any other target decides what it accepts.
"""

import pickle
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ssl_rot.building import build as build_node
from ssl_rot.config.checker import Checker
from ssl_rot.config.params import flatten
from ssl_rot.config.schema import has_pretext
from ssl_rot.errors import ConfigError, UserError, describe_error
from ssl_rot.models import Backbone, TimmBackbone, build_backbone, build_head

# What a trial build reads, beside the size of the images.
_BUILT = ("model", "head", "loss", "freeze", "schedule", "pretext")
_build_faults: dict[bytes, list[str]] = {}


def validate(cfg: DictConfig) -> dict[str, Any]:
    """Returns the resolved config.

    Raises:
        ConfigError: with all faults of the config: the key, its value, and what is allowed.
    """
    raw: dict[str, Any] = OmegaConf.to_container(cfg)  # type: ignore[assignment]
    missing = sorted(key for key, value in flatten(raw).items() if value == "???")
    faults = [f"{key} is not set; give it with {key}=..." for key in missing]
    filled = cfg.copy() if missing else cfg
    for key in missing:  # a reference to a missing key would hide the other faults
        OmegaConf.update(filled, key, "?")
    try:
        config: dict[str, Any] = OmegaConf.to_container(filled, resolve=True)  # type: ignore[assignment]
    except OmegaConfBaseException as error:
        at = getattr(error, "full_key", None)
        raise ConfigError([*faults, f"{at}: {str(error).splitlines()[0]}"]) from error
    faults += Checker(flatten(raw), missing).find_faults(config)
    faults += _find_label_faults(config)
    faults += _find_early_stop_faults(config)
    faults += _find_match_faults(config)
    faults += _find_monitor_faults(config)
    faults += _find_device_faults(config)
    faults += _find_system_metrics_faults(config)
    if not faults:  # a trial build would repeat the same faults, less clearly
        faults += _find_build_faults_once(cfg, config)
    if faults:
        raise ConfigError(faults)
    return config


def _find_label_faults(config: Mapping[str, Any]) -> Iterator[str]:
    data = config.get("dataset")
    if not isinstance(data, dict):
        return
    budget, fraction = data.get("labels_per_class"), data.get("label_fraction")
    if fraction is not None and budget is not None:
        beside = f"is not allowed beside dataset.labels_per_class={budget}"
        yield f"dataset.label_fraction={fraction} {beside}; set one of them to null"
    if not isinstance(count := data.get("val_per_class"), int):
        return
    if data.get("val_fraction"):
        other = f"dataset.val_fraction={data['val_fraction']}"
        yield f"dataset.val_per_class={count} is not allowed beside {other}; set one of them"
    if isinstance(budget, int) and count >= budget > 0:
        allowed = f"less than dataset.labels_per_class={budget}, which it is taken out of"
        yield f"dataset.val_per_class={count} is not allowed; it must be {allowed}"


def _find_early_stop_faults(config: Mapping[str, Any]) -> Iterator[str]:
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
        elif not on_test and not _has_validation(config, path):
            needs = "needs a validation split, and dataset.val_fraction=0"
            yield f"{key}.metric={metric} {needs}; set dataset.val_fraction=0.1, say"
        if stop.get("threshold") is None:
            yield f"{key}.threshold=null is not allowed beside {key}.metric={metric}; give a number"


def _has_validation(config: Mapping[str, Any], path: str) -> bool:
    """Whether the phase whose schedule is at ``path`` has images for validation."""
    data = config.get("dataset", {})
    in_budget = path == "schedule" and data.get("val_per_class") is not None
    return in_budget or data.get("val_fraction") != 0


def _find_match_faults(config: Mapping[str, Any]) -> Iterator[str]:
    pretext = config.get("pretext")
    schedule = pretext.get("schedule") if isinstance(pretext, dict) else None
    if isinstance(schedule, dict) and schedule.get("match_images") is True:
        key = "pretext.schedule.match_images"
        yield f"{key}=true is not allowed; it must be false: set schedule.match_images=true instead"


def _find_monitor_faults(config: Mapping[str, Any]) -> Iterator[str]:
    monitor, settings = config.get("monitor"), config.get("monitoring")
    on_val = isinstance(settings, dict) and settings.get("split") == "val"
    needs_val = isinstance(monitor, list) and "knn" in monitor and on_val
    if needs_val and not _has_validation(config, "schedule"):
        needs = "needs a validation split, and dataset.val_fraction=0"
        hint = "set dataset.val_per_class=2, say, or monitoring.split=test"
        yield f"monitor=[knn] {needs}; {hint}"


def _find_device_faults(config: Mapping[str, Any]) -> Iterator[str]:
    device = config.get("device")
    absent = (device == "cuda" and not torch.cuda.is_available()) or (
        device == "mps" and not torch.backends.mps.is_available()
    )
    if absent:
        yield f"device={device} is not allowed: torch sees no such device here; use auto or cpu"


def _find_system_metrics_faults(config: Mapping[str, Any]) -> Iterator[str]:
    if config.get("system_metrics") is not True:
        return
    needed = {"psutil": "psutil"}
    if torch.cuda.is_available() and torch.version.hip is None:
        needed["pynvml"] = "nvidia-ml-py"
    missing = [package for module, package in needed.items() if find_spec(module) is None]
    if missing:
        names = " and ".join(missing)
        yield f"system_metrics=true needs {names}, not installed: pip install {' '.join(missing)}"


def _find_build_faults_once(cfg: DictConfig, config: Mapping[str, Any]) -> list[str]:
    """The faults of parts that many jobs of a sweep share are looked for once."""
    key = pickle.dumps(
        [config.get(group) for group in _BUILT] + [config["dataset"].get("image_size")]
    )
    if key not in _build_faults:
        _build_faults[key] = list(_find_build_faults(cfg))
    return _build_faults[key]


def _find_build_faults(cfg: DictConfig) -> Iterator[str]:
    model = dict(cfg.model) | {"weights": None}
    # Nothing is downloaded here; xavier with pretrained is refused before a download.
    if model.get("pretrained") and model.get("init") != "xavier":
        model["pretrained"] = False
    builds: dict[str, Callable[[], Any]] = {
        "model": partial(build_backbone, model, in_channels=3, seed=0),
        "head": partial(build_head, cfg.head, in_channels=8, num_classes=2, seed=0),
        **{group: partial(build_node, cfg[group]) for group in ("loss", "freeze", "pretext")},
        "schedule": partial(_build_schedule, cfg.schedule),
    }
    if has_pretext(cfg):
        builds["pretext.schedule"] = partial(_build_schedule, cfg.pretext.schedule)
    built = {}
    for path, build in builds.items():
        try:
            built[path] = _try_build(build)
        except Exception as error:
            yield _describe_build_error(path, error)
    if "model" in built:
        yield from _find_stage_faults(cfg, built["model"].stage_names)
    if isinstance(built.get("model"), TimmBackbone):
        yield from _find_image_size_faults(cfg, builds["model"])


def _build_schedule(node: DictConfig) -> None:
    # The number of steps is not known yet; few of them would be a special case.
    parameter = torch.nn.Parameter(torch.zeros(1, device="cpu"))
    build_node(node).build([parameter], steps_per_epoch=997)


def _find_stage_faults(cfg: DictConfig, stages: tuple[str, ...]) -> Iterator[str]:
    for key in ("model.cut", "freeze.stage"):
        stage = OmegaConf.select(cfg, key)
        if stage in stages:
            stages = stages[: stages.index(stage) + 1]  # a stage that is cut off cannot be frozen
        elif stage is not None:
            allowed = f"a stage of the model: {', '.join(stages)}"
            yield f"{key}={stage} is not allowed; it must be {allowed}"


def _find_image_size_faults(cfg: DictConfig, build: Callable[[], Backbone]) -> Iterator[str]:
    """Passes two images through the model: timm does not list the sizes that one accepts."""
    size, cut = OmegaConf.select(cfg, "dataset.image_size"), cfg.model.cut
    if size is None:
        return
    model = build()  # not on the meta device, whose BatchNorm takes a second to import
    if cut in model.stage_names and not has_pretext(cfg):
        model = model.cut(cut)
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(2, 3, size, size))
    except ConfigError as error:
        yield from error.faults
    except Exception as error:
        reason = describe_error(error)
        yield f"dataset.image_size={size} does not suit the model ({reason}); try a larger one"


def _try_build(build: Callable[[], Any]) -> Any:
    """Builds on the meta device, which takes neither memory nor time."""
    try:
        with torch.device("meta"):
            return build()
    except UserError:
        raise
    except Exception:  # some constructors read the values of a tensor, and meta tensors have none
        return build()


def _describe_build_error(path: str, error: Exception) -> str:
    cause = error.__cause__ if error.__cause__ is not None else error  # Hydra wraps exceptions
    if isinstance(cause, ConfigError):
        return "; ".join(cause.faults)
    text = str(cause) if isinstance(cause, UserError) else str(cause).split("\n")[0]
    return f"{path} cannot be built: {text}"
