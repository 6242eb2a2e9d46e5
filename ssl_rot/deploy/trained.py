"""The classifier of a finished downstream run, rebuilt from what MLflow has of the run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hydra.errors import InstantiationException
from omegaconf import OmegaConf
from pydantic import TypeAdapter, ValidationError

from ssl_rot.deploy.classifier import ImageClassifier
from ssl_rot.errors import TrackingError, WeightsError, describe_error
from ssl_rot.experiment.context import load_training_context
from ssl_rot.experiment.inputs import Inputs
from ssl_rot.models import Classifier, build_backbone, build_head
from ssl_rot.models.weights import read_weights
from ssl_rot.tracking import CONFIG, INPUTS, WEIGHTS, StoredRun, Tag
from ssl_rot.tracking.runs import StoredRuns


@dataclass(frozen=True)
class TrainedRun:
    """A finished downstream run and its classifier.

    Args:
        config: resolved.
        inputs: what the network was fed.
    """

    run: StoredRun
    config: dict[str, Any]
    classifier: ImageClassifier
    inputs: Inputs


def load_trained(runs: StoredRuns, run_id: str) -> TrainedRun:
    """Rebuilds the classifier of a run, from its config, its weights and what it was fed.

    Raises:
        TrackingError: there is no such run, or it is not a finished downstream run, or it lacks an
            artifact.
        WeightsError: its weights are damaged, or belong to another network.
        DataError: the run is of a version that did not record its inputs, and its data is gone.
    """
    run = runs.get(run_id)
    phase = run.tags.get(Tag.PHASE)
    if phase != "downstream" or run.status != "FINISHED":
        what = f"a {phase} run" if phase != "downstream" else f"{run.status}"
        raise TrackingError(f"Run {run_id} is {what}; only a finished downstream run classifies")
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        config = _read_config(runs.artifact(run_id, CONFIG, folder))
        inputs = _read_inputs(runs, run_id, config, folder)
        weights = runs.artifact(run_id, WEIGHTS, folder)
        try:
            network = _rebuild(config, inputs)
            network.load_state_dict(read_weights(weights))
        except (RuntimeError, InstantiationException) as error:
            message = f"The network of run {run_id} cannot be rebuilt: {describe_error(error)}"
            raise WeightsError(message) from error
    return TrainedRun(run, config, ImageClassifier(network, **asdict(inputs)), inputs)


def _read_config(path: Path) -> dict[str, Any]:
    config: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    return config  # type: ignore[no-any-return]


def _read_inputs(runs: StoredRuns, run_id: str, config: dict[str, Any], folder: Path) -> Inputs:
    try:
        path = runs.artifact(run_id, INPUTS, folder)
    except TrackingError:  # an older run: its data tells
        return Inputs.of(load_training_context(config).data)
    try:
        return TypeAdapter(Inputs).validate_json(path.read_bytes())
    except ValidationError as error:
        raise TrackingError(f"The artifact {INPUTS} of run {run_id} is damaged") from error


def _rebuild(config: dict[str, Any], inputs: Inputs) -> Classifier:
    # What the weights start from matters no more.
    model = {**config["model"], "weights": None, "init": "default"}
    if "pretrained" in model:
        model["pretrained"] = False
    backbone = build_backbone(model, in_channels=len(inputs.mean), seed=0)
    if model.get("cut") is not None:
        backbone = backbone.cut(model["cut"])
    head = {**config["head"], "init": "default"}
    channels, classes = backbone.out_channels, len(inputs.classes)
    return Classifier(backbone, build_head(head, in_channels=channels, num_classes=classes, seed=0))
