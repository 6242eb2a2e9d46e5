"""What a run uses of a data set, as the column "Dataset" of MLflow's UI lists it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlflow.entities import Dataset, DatasetInput, InputTag
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT


@dataclass(frozen=True)
class DatasetUse:
    """A part of a data set, and what a run does with it.

    MLflow takes two parts with the same name and digest for one.

    Args:
        context: what for: ``pretext``, ``train``, ``val`` or ``test``.
        digest: of which images these are; at most 36 characters.
        source_type: ``local`` for a folder or file, ``code`` for what a function makes.
        source: in JSON, as MLflow writes sources of this type.
        schema: in JSON, the shape and type of the images.
        profile: in JSON, the number of images and classes, and the label budget.
    """

    name: str
    context: str
    digest: str
    source_type: str
    source: str
    schema: str
    profile: str


def describe_source(path: str | None, target: str) -> tuple[str, str]:
    """Type and source of a data set that lies at ``path``, or that the function ``target`` makes.

    As the ``LocalArtifactDatasetSource`` and the ``CodeDatasetSource`` of MLflow write them.
    """
    if path is not None:
        return "local", json.dumps({"uri": path})
    return "code", json.dumps({"tags": {"mlflow.source.name": target}})


def describe_images(shape: Sequence[int], profile: Mapping[str, Any]) -> tuple[str, str]:
    """Schema and profile of ``uint8`` images ``[C, H, W]``; MLflow shows both as JSON."""
    pixels = {"dtype": "uint8", "shape": [-1, *shape]}
    tensors = json.dumps([{"type": "tensor", "tensor-spec": pixels}])
    schema = {"mlflow_tensorspec": {"features": tensors, "targets": None}}
    return json.dumps(schema), json.dumps(profile)


def to_dataset_input(use: DatasetUse) -> DatasetInput:
    """As MLflow takes it."""
    dataset = Dataset(use.name, use.digest, use.source_type, use.source, use.schema, use.profile)
    return DatasetInput(dataset, [InputTag(MLFLOW_DATASET_CONTEXT, use.context)])
