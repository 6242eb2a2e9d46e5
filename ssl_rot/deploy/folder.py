"""Writes the exported folder of a finished run: completely, or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssl_rot.deploy.classifier import ImageClassifier
from ssl_rot.deploy.exported import read_config, to_timm_names
from ssl_rot.deploy.layout import CARD_FILE, CONFIG_FILE, FILES, WEIGHTS_FILE
from ssl_rot.deploy.trained import TrainedRun
from ssl_rot.errors import ExportError, StorageError, UserError
from ssl_rot.models import TimmBackbone
from ssl_rot.models.weights import save_tensors

FORMAT = 1
_NOT_ARGUMENTS = ("_target_", "init", "weights", "cut", "pretrained")


def check_target(folder: Path) -> None:
    """Refuses a folder that holds anything but an earlier export.

    Raises:
        ExportError: it does, or is no folder, or cannot be created.
    """
    if folder.is_dir():
        names = {path.name for path in folder.iterdir()}
        if names:
            others = sorted(names - set(FILES))
            if others:
                raise ExportError(f"{folder} is not empty: it has {others[0]!r}, {_ADVICE}")
            try:
                read_config(folder)
            except UserError as error:
                raise ExportError(f"{folder} is not empty: {error}; {_ADVICE}") from error
    elif os.path.lexists(folder):
        raise ExportError(f"{folder} is not a folder")


_ADVICE = "and only an earlier export is replaced; name another folder"


class FolderWriter:
    """A folder under another name until :meth:`publish`; removed if the block raises.

    Raises:
        ExportError: it cannot be created.
    """

    def __init__(self, target: Path) -> None:
        self.target = target.resolve()  # a link stays one
        self.folder = self.target.with_name(f".{self.target.name}.{os.getpid()}.partial")

    def __enter__(self) -> FolderWriter:
        try:
            self.folder.mkdir(parents=True)
        except OSError as error:
            raise _cannot_write(self.target, error) from error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        if isinstance(error, StorageError) and isinstance(error.__cause__, OSError):
            raise _cannot_write(self.target, error.__cause__) from error
        if isinstance(error, OSError):
            raise _cannot_write(self.target, error) from error

    def publish(self) -> None:
        """Puts the folder in the place of the target, and of an earlier export there."""
        earlier = self.folder.with_suffix(".earlier")
        for path in self.folder.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        if self.target.exists():
            check_target(self.target)  # again, since exporting takes a while
            self.target.rename(earlier)
        try:
            self.folder.rename(self.target)
        except OSError:
            if earlier.exists():
                earlier.rename(self.target)
            raise
        shutil.rmtree(earlier, ignore_errors=True)


def _cannot_write(folder: Path, error: OSError) -> ExportError:
    return ExportError(f"{folder} cannot be written: {error.strerror or error}")


def write_model(trained: TrainedRun, license_id: str, folder: Path) -> dict[str, Any]:
    """Writes config.json and the weights; returns what config.json says."""
    classifier = trained.classifier
    config, tensors = describe_model(trained, license_id), classifier.network.state_dict()
    if config["ssl_rot"]["names"] == "timm":
        tensors = to_timm_names(tensors, config["pretrained_cfg"]["classifier"])
    save_tensors(tensors, folder / WEIGHTS_FILE)
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return config


def write_card(text: str, folder: Path) -> None:
    """Writes the model card."""
    (folder / CARD_FILE).write_text(text, encoding="utf-8", errors="backslashreplace")


def describe_model(trained: TrainedRun, license_id: str) -> dict[str, Any]:
    """The content of config.json: timm's and the Hub's keys, and ``ssl_rot`` with our own."""
    model, head = trained.config["model"], trained.config["head"]
    classifier = trained.classifier
    size, classes = classifier.image_size, list(classifier.classes)
    timm_classifier = _timm_classifier(trained)
    backbone: Any = classifier.network.backbone
    is_timm = isinstance(backbone, TimmBackbone)
    pretrained_cfg = {
        "architecture": model["name"].partition(".")[0] if is_timm else None,
        "input_size": [classifier.channels, size, size],
        "fixed_input_size": is_timm and backbone.image_size is not None,
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "crop_mode": "center",
        "mean": list(trained.inputs.mean),
        "std": list(trained.inputs.std),
        "num_classes": len(classes),
        "first_conv": backbone.model.pretrained_cfg.get("first_conv") if is_timm else None,
        "classifier": timm_classifier,
        "license": license_id,
    }
    config = {
        "architecture": pretrained_cfg["architecture"] or trained.run.params["model"],
        "num_classes": len(classes),
        "num_features": backbone.out_channels,
        "label_names": classes,
        "pretrained_cfg": {key: v for key, v in pretrained_cfg.items() if v is not None},
        "ssl_rot": {
            "format": FORMAT,
            "backbone": _part(model),
            "cut": model.get("cut"),
            "head": _part(head),
            "names": "ssl_rot" if timm_classifier is None else "timm",
        },
    }
    if timm_classifier is not None:
        config["model_args"] = _model_args(classifier, backbone)
    return config


def _part(node: Mapping[str, Any]) -> dict[str, Any]:
    arguments = {key: value for key, value in node.items() if key not in _NOT_ARGUMENTS}
    return {"builder": node["_target_"], "arguments": arguments}


def _model_args(classifier: ImageClassifier, backbone: TimmBackbone) -> dict[str, Any]:
    size = backbone.image_size
    return {"in_chans": classifier.channels} | ({} if size is None else {"img_size": size})


def _timm_classifier(trained: TrainedRun) -> str | None:
    """timm's name of its classifier, if timm's whole model computes what the run's network does.

    That takes a whole backbone and a linear head, and a model that classifies the mean of its
    last feature map: it is tried.
    """
    import timm

    classifier, model = trained.classifier, trained.config["model"]
    network: Any = classifier.network
    backbone = network.backbone
    if not isinstance(backbone, TimmBackbone) or model.get("cut") is not None:
        return None
    name = backbone.model.pretrained_cfg.get("classifier")
    if not isinstance(name, str) or trained.config["head"]["_target_"] != _LINEAR_HEAD:
        return None
    architecture = model["name"].partition(".")[0]
    arguments = _model_args(classifier, backbone)
    whole: Any = timm.create_model(architecture, num_classes=len(classifier.classes), **arguments)
    size = classifier.image_size
    images = torch.rand(2, classifier.channels, size, size, generator=torch.Generator())
    try:
        whole.load_state_dict(to_timm_names(network.state_dict(), name))
        with torch.inference_mode():
            expected: Tensor = network(images)
            given = whole.eval()(images)
    except RuntimeError:
        return None
    return name if torch.allclose(given, expected, rtol=1e-3, atol=1e-4) else None


_LINEAR_HEAD = "ssl_rot.models.linear_head"
