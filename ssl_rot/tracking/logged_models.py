"""Logged models: MLflow's folder of a trained classifier, and its place beside the run."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow.artifacts
import mlflow.pytorch
import numpy as np
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput, LoggedModelStatus, Metric
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec
from numpy.typing import NDArray
from torch import nn

from ssl_rot.errors import store_errors
from ssl_rot.tracking.database import absolute_uri, connect, require_database
from ssl_rot.tracking.runs import OpenStore

NAME = "classifier"
METRICS = ("test_acc", "test_loss", "val_acc", "val_loss")  # of its last epoch


@dataclass(frozen=True)
class ModelToLog:
    """A module from images, uint8 ``[N, H, W, C]``, to class probabilities.

    Args:
        example: images, two at least in every dimension but the last.
        facts: what a reader should know, as JSON; stands in the model's metadata, and with the
            hash of the graph in the file ``facts_file`` beside it.
        graph: the name that MLflow gives the file of the graph.
        code: Python files by name, copied with the model.
        loader: the module among them that has ``_load_pyfunc``.
        requirements: of pip, to serve the model.
    """

    module: nn.Module
    example: NDArray[np.uint8]
    facts: dict[str, Any]
    facts_file: str
    graph: str
    code: dict[str, str]
    loader: str
    requirements: list[str]


def log_model(store: OpenStore, run_id: str, build: ModelToLog) -> str:
    """Logs the model of a finished run with its last accuracies, and returns its URI.

    It needs no active run, and leaves the settings of ``mlflow`` alone.

    Raises:
        TrackingError: the store does not accept it; what it has of the model is then marked FAILED.
    """
    client = store.client
    with store_errors(f"The model of run {run_id} could not be logged"), TemporaryDirectory() as at:
        experiment = client.get_run(run_id).info.experiment_id
        logged = client.create_logged_model(experiment, NAME, source_run_id=run_id)
        status = LoggedModelStatus.FAILED
        try:
            folder = Path(at) / NAME
            model = Model(
                artifact_path=logged.artifact_location,
                model_uuid=logged.model_id,
                run_id=run_id,
                model_id=logged.model_id,
            )
            save_model(build, folder, model)
            client.log_model_artifacts(logged.model_id, str(folder))
            points = _last_points(client, run_id)
            client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, points[0].step)])
            # The run has these points; with a model's id, MLflow shows them beside the model, too.
            client.log_batch(run_id, [_of_model(point, logged.model_id) for point in points])
            status = LoggedModelStatus.READY
        finally:
            client.finalize_logged_model(logged.model_id, status)
    return f"models:/{logged.model_id}"


def _last_points(client: MlflowClient, run_id: str) -> list[Metric]:
    histories = [client.get_metric_history(run_id, name) for name in METRICS]
    return [max(points, key=lambda point: point.step) for points in histories if points]


def _of_model(point: Metric, model_id: str) -> Metric:
    return Metric(
        point.key, point.value, point.timestamp, point.step, model_id=model_id, run_id=point.run_id
    )


def find_model(store: OpenStore, run_id: str) -> str | None:
    """The URI of the latest model that was logged for a run."""
    client = store.client
    with store_errors(f"The models of run {run_id} cannot be listed"):
        experiment = client.get_run(run_id).info.experiment_id
        found = client.search_logged_models([experiment], f"source_run_id = '{run_id}'")
    ready = [model for model in found if model.status == LoggedModelStatus.READY]
    return f"models:/{ready[0].model_id}" if ready else None


def download_model(model: str, folder: Path) -> Path:
    """Downloads the graph of a logged or registered model, and the facts beside it.

    Args:
        model: ``models:/<name>@<alias>``, ``models:/<name>/<version>`` or ``models:/<id>``.

    Raises:
        TrackingError: the store, which follows MLflow's own defaults, has no such model.
    """
    uri = absolute_uri(None)
    require_database(uri, f"{model} cannot be looked up")
    with store_errors(f"{model} is not in {uri}"):
        connect(uri)  # sets how long MLflow tries
        found = mlflow.artifacts.download_artifacts(
            artifact_uri=model, dst_path=str(folder), tracking_uri=uri, registry_uri=uri
        )
    return Path(found) / "data"


def save_model(build: ModelToLog, folder: Path, model: Model) -> None:
    """Writes MLflow's folder of a model, with the flavors ``pytorch`` and ``python_function``."""
    channels, classes = int(build.example.shape[-1]), len(build.facts["classes"])
    signature = ModelSignature(
        Schema([TensorSpec(np.dtype(np.uint8), (-1, -1, -1, channels))]),
        Schema([TensorSpec(np.dtype(np.float32), (-1, classes))]),
    )
    # The model checks its input itself: MLflow would refuse files in place of a tensor.
    signature._is_signature_from_type_hint = True
    with TemporaryDirectory() as at, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's and MLflow's, about their own workings
        paths = [Path(at) / name for name in build.code]
        for path in paths:
            path.write_text(build.code[path.name], encoding="utf-8")
        mlflow.pytorch.save_model(
            build.module,
            str(folder),
            mlflow_model=model,
            code_paths=[str(path) for path in paths],
            signature=signature,
            input_example=build.example,
            # Otherwise MLflow loads the model in another process to see what it imports.
            pip_requirements=build.requirements,
            metadata=build.facts,
            serialization_format="pt2",
        )
    data = folder / "data"
    digest = hashlib.sha256((data / build.graph).read_bytes()).hexdigest()
    (data / build.facts_file).write_text(json.dumps(build.facts | {"sha256": digest}))
    model.flavors["python_function"]["loader_module"] = build.loader
    model.save(str(folder / "MLmodel"))


def register_model(
    store: OpenStore, uri: str, run_id: str, name: str, alias: str, tags: Mapping[str, str]
) -> str:
    """Makes a logged model the newest version of a registered one, and points an alias at it.

    Returns:
        The URI of the version.
    """
    client = store.client
    with store_errors(f"The model {uri} could not be registered as {name}"):
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name)
        model_id = uri.removeprefix("models:/")
        made = client.create_model_version(name, uri, run_id, dict(tags), model_id=model_id)
        client.set_registered_model_alias(name, alias, made.version)
    return f"models:/{name}/{made.version}"
