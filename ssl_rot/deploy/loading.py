"""A model for prediction, by what a user calls it."""

from __future__ import annotations

from pathlib import Path

import torch

from ssl_rot.deploy.exported import read_exported
from ssl_rot.deploy.prediction import Model
from ssl_rot.deploy.trained import load_trained
from ssl_rot.errors import WeightsError
from ssl_rot.tracking.runs import ExistingStore, StoredRuns


def load_model(name: str) -> Model:
    """Loads the model of a finished run, or an exported one, onto the GPU if there is one.

    Raises:
        UserError: ``name`` is no model, or it is damaged.
    """
    if Path(name).is_dir():
        classifier = read_exported(Path(name))
    elif len(name) == 32 and set(name) <= set("0123456789abcdef"):
        classifier = load_trained(StoredRuns(ExistingStore.of_run(name)), name).classifier
    else:
        kinds = "the id of a finished run, or a folder of python -m ssl_rot.export"
        raise WeightsError(f"{name} is not a model: give {kinds}")
    return classifier.to("cuda" if torch.cuda.is_available() else "cpu")
