"""A classifier as a graph that runs without this package: torch.export's pt2, and ONNX."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch

from ssl_rot.deploy.classifier import ImageClassifier
from ssl_rot.errors import ExportError, describe_error

INPUT, OUTPUT = "images", "probabilities"
CLASSES = "classes"
"""Where both formats have the names of the classes, as JSON."""
ONNX_PACKAGES = ("onnx", "onnxscript")


def check_onnx() -> None:
    """Refuses if the packages that ONNX takes are not installed.

    Raises:
        ExportError: they are not.
    """
    missing = [name for name in ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ExportError(f"--onnx needs {' and '.join(missing)}: pip install 'ssl_rot[onnx]'")


def write_pt2(program: torch.export.ExportedProgram, classes: tuple[str, ...], path: Path) -> None:
    """Writes the graph for ``torch.export.load``."""
    names = {f"{CLASSES}.json": json.dumps(classes)}
    with _quiet():
        torch.export.save(program, path, extra_files=names)


def write_onnx(program: torch.export.ExportedProgram, classes: tuple[str, ...], path: Path) -> None:
    """Writes the graph for ONNX Runtime and others.

    Raises:
        ExportError: the network has an operator that ONNX does not.
    """
    with _quiet():
        try:
            exported = torch.onnx.export(
                program, dynamo=True, input_names=[INPUT], output_names=[OUTPUT], verbose=False
            )
            assert exported is not None
            exported.model.metadata_props[CLASSES] = json.dumps(classes)
            exported.save(path)
        except Exception as error:  # the exporter's errors are of many types
            raise ExportError(f"--onnx: torch cannot export it: {describe_error(error)}") from error


def trace(classifier: ImageClassifier) -> torch.export.ExportedProgram:
    """The graph of a classifier, for any number of images of any one size.

    Raises:
        ExportError: torch.export cannot trace the network.
    """
    with _quiet():
        try:
            return classifier.export()
        except Exception as error:
            raise ExportError(f"torch.export cannot trace it: {describe_error(error)}") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps what the exporters say of their own workings off the terminal."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
