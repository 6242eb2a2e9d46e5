"""Logs the classifier of a run as a model that MLflow loads, serves and registers."""

from __future__ import annotations

import logging
from importlib.metadata import version
from pathlib import Path

from ssl_rot.data.folder import pixels
from ssl_rot.deploy import served
from ssl_rot.deploy.trained import TrainedRun, load_trained
from ssl_rot.errors import describe_error
from ssl_rot.tracking.logged_models import ModelToLog, find_model, log_model
from ssl_rot.tracking.runs import OpenStore, StoredRuns

log = logging.getLogger(__name__)

# The copies have other names than the originals: both may be importable.
_LOADER, _PIXELS = "ssl_rot_served", "ssl_rot_pixels"
_NEEDED = ("mlflow", "torch", "numpy", "pandas", "pillow")


def try_to_log(store: OpenStore, run_id: str) -> str | None:
    """:func:`log_classifier`, whose failure is only a warning: the run has finished without it."""
    try:
        uri = log_classifier(store, run_id)
    except Exception as error:
        log.warning(
            "Run %s is finished, but no model was logged: %s", run_id, describe_error(error)
        )
        return None
    print(f"  model       {uri}", flush=True)
    return uri


def log_classifier(store: OpenStore, run_id: str) -> str:
    """Logs the classifier of a finished downstream run, unless it is; returns the model's URI.

    Raises:
        UserError: it cannot be rebuilt, or MLflow does not accept it.
    """
    found = find_model(store, run_id)
    if found is not None:
        return found
    return log_model(store, run_id, _describe(load_trained(StoredRuns(store), run_id)))


def _describe(trained: TrainedRun) -> ModelToLog:
    classifier = trained.classifier
    code = Path(served.__file__).read_text().replace(pixels.__name__, _PIXELS)
    return ModelToLog(
        classifier,
        example=classifier.example().numpy(),
        facts={
            "classes": list(classifier.classes),
            "image_size": classifier.image_size,
            "channels": classifier.channels,
            "run_id": trained.run.run_id,
        },
        facts_file=served.FACTS,
        graph=served.GRAPH,
        code={f"{_LOADER}.py": code, f"{_PIXELS}.py": Path(pixels.__file__).read_text()},
        loader=_LOADER,
        requirements=[f"{name}=={version(name)}" for name in _NEEDED],
    )
