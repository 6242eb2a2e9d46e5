"""Finds the weights that a config names: a file, an MLflow run, or published ones."""

from pathlib import Path
from typing import Any

from ssl_rot.errors import ConfigError, WeightsError
from ssl_rot.models import build_backbone
from ssl_rot.models.weights import save_weights
from ssl_rot.tracking import WEIGHTS, Tracker

TIMM = "timm:"


def find_weights(key: str, name: str, tracker: Tracker, folder: Path) -> Path:
    """The safetensors file of ``key=name``; that of an MLflow run is downloaded to ``folder``.

    Raises:
        WeightsError: there is neither such a file nor such a run.
    """
    if Path(name).is_file():
        return Path(name)
    if len(name) == 32 and set(name) <= set("0123456789abcdef"):
        return tracker.runs.artifact(name, WEIGHTS, folder)
    raise WeightsError(f"{key}={name} is neither a file nor the id of an MLflow run")


def find_given_weights(
    source: str, model: dict[str, Any], in_channels: int, tracker: Tracker, folder: Path
) -> Path:
    """Like :func:`find_weights`, for ``pretext.source``; takes ``timm:<model.tag>`` too.

    Raises:
        ConfigError: the tag belongs to another network than the run's.
    """
    if not source.startswith(TIMM):
        return find_weights("pretext.source", source, tracker, folder)
    tag = source.removeprefix(TIMM)
    network = tag.partition(".")[0]
    if str(model.get("name")).partition(".")[0] != network or "pretrained" not in model:
        fault = (
            f"pretext.source={source} fits no other network than model=timm model.name={network}"
        )
        raise ConfigError([fault])
    if model["pretrained"]:
        fault = f"pretext.source={source} with model.pretrained=true: both arms would start from it"
        raise ConfigError([f"{fault}; set model.pretrained=false"])
    # timm's own code adapts the weights to the number of channels.
    named = {**model, "name": tag, "pretrained": True, "init": "default", "weights": None}
    backbone = build_backbone(named, in_channels=in_channels, seed=0)
    save_weights(backbone, folder / WEIGHTS)
    return folder / WEIGHTS
