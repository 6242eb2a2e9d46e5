"""Finds an artifact of a run: in place if it is on this machine, else downloaded."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import mlflow

THREADS = 8  # a download is mostly waiting


def fetch(location: object, name: str, folder: str, tracking_uri: str) -> Path | None:
    """The path of an artifact, which need not exist; ``None`` if a download fails.

    Args:
        location: the run's ``artifact_uri``.
        folder: where a download is written to.
    """
    if not isinstance(location, str) or not location:
        return None
    url = urlsplit(location)
    if url.scheme in ("", "file"):
        return Path(url2pathname(url.path if url.scheme else location)) / name
    try:
        file = mlflow.artifacts.download_artifacts(
            f"{location}/{name}", dst_path=folder, tracking_uri=tracking_uri
        )
        return Path(file)
    except Exception:  # each kind of artifact store has errors of its own
        return None
