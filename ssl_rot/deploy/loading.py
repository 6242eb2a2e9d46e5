"""A model for prediction, by what a user calls it."""

from __future__ import annotations

import torch

from ssl_rot.deploy.prediction import Model
from ssl_rot.deploy.trained import load_trained
from ssl_rot.errors import WeightsError
from ssl_rot.tracking.runs import ExistingStore, StoredRuns


def load_model(name: str) -> Model:
    """Loads the model of a finished run onto the GPU, if there is one.

    Raises:
        UserError: ``name`` is no model, or it is damaged.
    """
    if len(name) == 32 and set(name) <= set("0123456789abcdef"):
        runs = StoredRuns(ExistingStore.of_run(name))
        classifier = load_trained(runs, name).classifier
        return classifier.to("cuda" if torch.cuda.is_available() else "cpu")
    raise WeightsError(f"{name} is not a model: give the id of a finished run")
