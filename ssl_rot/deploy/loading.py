"""A model for prediction, by what a user calls it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from ssl_rot.deploy.exported import read_exported
from ssl_rot.deploy.prediction import Model
from ssl_rot.deploy.served import ServedClassifier
from ssl_rot.deploy.trained import load_trained
from ssl_rot.errors import WeightsError, describe_error
from ssl_rot.tracking.logged_models import download_model
from ssl_rot.tracking.runs import ExistingStore, StoredRuns


def load_model(name: str) -> Model:
    """Loads the model of a finished run, an exported one, or one of MLflow's.

    The first two are on the GPU, if there is one.

    Args:
        name: the id of a run, a folder, or ``models:/...``.

    Raises:
        UserError: ``name`` is no model, or it is damaged.
    """
    if name.startswith("models:/"):
        return _load_logged(name)
    if Path(name).is_dir():
        classifier = read_exported(Path(name))
    elif len(name) == 32 and set(name) <= set("0123456789abcdef"):
        classifier = load_trained(StoredRuns(ExistingStore.of_run(name)), name).classifier
    else:
        kinds = (
            "the id of a finished run, a folder of python -m ssl_rot.export, or models:/NAME@ALIAS"
        )
        raise WeightsError(f"{name} is not a model: give {kinds}")
    return classifier.to("cuda" if torch.cuda.is_available() else "cpu")


@dataclass(frozen=True)
class _LoggedModel:
    """A logged model by its tensors: files are decoded here, so that each can be skipped."""

    served: ServedClassifier

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")  # where its graph was made

    @property
    def classes(self) -> Sequence[str]:
        return self.served.classes

    @property
    def image_size(self) -> int:
        return self.served.image_size

    @property
    def channels(self) -> int:
        return self.served.channels

    def __call__(self, images: Tensor) -> Tensor:
        probabilities: Tensor = self.served.graph(images)
        return probabilities


def _load_logged(name: str) -> _LoggedModel:
    """Reads the graph of a logged model; the code that is logged with it is not run."""
    with TemporaryDirectory() as folder:
        data = download_model(name, Path(folder))
        try:
            return _LoggedModel(ServedClassifier(data))
        except Exception as error:  # a damaged file makes torch raise anything
            raise WeightsError(f"{name} cannot be read: {describe_error(error)}") from error
