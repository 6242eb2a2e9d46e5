"""``mlflow models serve`` answers real requests with the classes of a run."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ssl_rot.data import digits
from ssl_rot.deploy.logged_model import log_classifier
from ssl_rot.tracking import Tracker

pytestmark = pytest.mark.slow(40)


@pytest.fixture(scope="module")
def address(rotation_run, start_python, free_port):
    """Of a server of the run's logged model."""
    store = f"sqlite:///{rotation_run.folder}/mlflow.db"
    tracker = Tracker("ssl_rot", store)
    uri = log_classifier(tracker.store, rotation_run.runs["downstream"].info.run_id)
    port = free_port()
    server = start_python(
        *("-m", "mlflow", "models", "serve", "--model-uri", uri, "--env-manager", "local"),
        *("--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        cwd=rotation_run.folder,
        MLFLOW_TRACKING_URI=store,
        PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}",  # it starts uvicorn
    )
    try:
        deadline = time.monotonic() + 240
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ping").close()
                break
            except OSError:
                assert server.poll() is None, server.output
                assert time.monotonic() < deadline, server.output
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


@pytest.fixture(scope="module")
def images():
    return digits(8).test.images[:20].permute(0, 2, 3, 1).numpy()


@pytest.fixture(scope="module")
def own(rotation_run):
    return pd.read_parquet(rotation_run.artifact("downstream", "predictions.parquet"))[:20]


def ask(address, body, kind="application/json"):
    """The status and the text of the answer."""
    request = urllib.request.Request(address, body, {"Content-Type": kind})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def check(answer, own):
    status, text = answer
    assert status == 200, text
    given = pd.DataFrame(json.loads(text)["predictions"])
    assert given.idxmax(axis=1).tolist() == own["prediction"].astype(str).tolist()
    assert np.allclose(given.max(axis=1), own["probability"], atol=1e-6)


def test_pixels_in_json(address, images, own):
    check(ask(address, json.dumps({"inputs": images.tolist()}).encode()), own)


def test_png_files_in_base64(address, images, own):
    body = json.dumps({"inputs": [png(pixels) for pixels in images]}).encode()
    check(ask(address, body), own)


def test_it_reads_no_file_of_the_server_and_lives_on(address, images, own, tmp_path):
    Image.fromarray(images[0].squeeze()).save(tmp_path / "secret.png")
    frame = pd.DataFrame({"path": [f"{tmp_path}/secret.png"]})
    status, text = ask(address, frame.to_parquet(), "application/vnd.apache.parquet")
    assert status == 400
    assert "none of its own files" in text
    status, text = ask(address, json.dumps({"inputs": [str(tmp_path / "secret.png")]}).encode())
    assert status == 400
    assert "not the base64 of an image file" in text
    test_pixels_in_json(address, images, own)
