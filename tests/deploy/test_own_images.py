"""docs/own_images.md, "The whole way": every command of it, from a folder to a class."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = [
    pytest.mark.slow(60),
    pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl"),
]

CLASSES = {"rose": (200, 40, 60), "tulip": (60, 40, 200)}
# What makes it short, and nothing else.
SHORTER = {
    "range(5)": "range(3)",
    "dataset.image_size=64": "dataset.image_size=8",
    "model=resnet18_cifar": "model=resnet_tiny model.widths=[8,16] model.blocks=[1,1]",
    "tracking.experiment_name": "schedule.epochs=3 pretext.schedule.epochs=1 "
    "tracking.experiment_name",
}


@pytest.fixture(scope="module")
def commands(checkout) -> list[str]:
    page = (checkout / "docs" / "own_images.md").read_text()
    section = page.partition("## The whole way\n")[2].partition("\n## ")[0]
    return re.findall(r"^```\n(.*?)^```", section, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Photographs of flowers, as far as two colors go."""
    folder = tmp_path_factory.mktemp("own")
    random = np.random.default_rng(0)
    for split, count in (("train", 22), ("test", 20)):
        for name, color in CLASSES.items():
            (folder / "pictures" / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = np.clip(random.normal(color, 30, (12, 16, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"pictures/{split}/{name}/{number}.jpg")
    shutil.copy(folder / "pictures/test/rose/0.jpg", folder / "rose.jpg")
    return folder


def test_from_a_folder_to_a_class(commands, folder, checkout, make_store, free_port):
    make_store(folder)
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(checkout),
        "SSL_ROT_CACHE": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
    }

    def run(command: str, *statuses: int) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True
        )
        assert done.returncode in (statuses or (0,)), done.stdout + done.stderr
        return done

    sweep, report, serve, ask, predict = commands
    for long, short in SHORTER.items():
        assert long in sweep
        sweep = sweep.replace(long, short)
    assert "6 of 6 jobs finished" in run(sweep).stdout
    registered = run(report, 0, 2)
    if registered.returncode == 2:
        assert "register_anyway=true" in registered.stdout + registered.stderr
        registered = run(f"{report.strip()} register_anyway=true")
    assert "models:/flowers@best" in registered.stdout
    assert (folder / "report" / "report.html").exists()

    port = str(free_port())
    server = subprocess.Popen(
        ["bash", "-c", f"exec {serve.replace('5001', port)}"],
        cwd=folder,
        env=environment,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 300
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ping").close()
                break
            except OSError:
                assert server.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.2)
        (answer,) = json.loads(run(ask.replace("5001", port)).stdout)["predictions"]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    assert answer.keys() == CLASSES.keys()
    assert sum(answer.values()) == pytest.approx(1, abs=1e-5)

    header, first, *others = run(predict).stdout.splitlines()
    assert header == "path,class,probability"
    path, name, probability = first.split(",")
    assert (path, name) == ("rose.jpg", max(answer, key=answer.__getitem__))
    assert float(probability) == pytest.approx(max(answer.values()), abs=1e-5)
    assert len(others) == 20 * len(CLASSES)
