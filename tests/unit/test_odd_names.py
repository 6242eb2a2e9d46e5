"""Names that mean something to a shell, to a URI, to mathtext or to a text encoding."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

NAME = "it's 100% (Übung) #1 + a?b&c;d"
CLASSES = [b"$5_$10", rb"$\frac$", b"caf\xe9", b"a b"]


@pytest.fixture
def root(tmp_path):
    """An image folder with a name of that kind, and classes too, one of them not UTF-8."""
    root = tmp_path / NAME
    for tree in ("train", "test"):
        for number, name in enumerate(CLASSES):
            folder = os.path.join(os.fsencode(root / tree), name)
            os.makedirs(folder)
            for image in range(3):
                pixels = np.full(
                    (8, 8, 3), 10 + 40 * number + 7 * image + (tree == "test"), np.uint8
                )
                Image.fromarray(pixels).save(os.path.join(os.fsdecode(folder), f"{image}.png"))
    return root


@pytest.mark.parametrize("kind", ["run", "sweep"])
def test_folders_and_classes_of_any_name_are_trained_on(
    call_main, make_store, all_runs, root, tmp_path, kind
):
    uri = make_store(tmp_path)
    quoted = {key: f"{key}='{value}'".replace("it's", r"it\'s") for key, value in (
        ("dataset.root", root), (f"hydra.{kind}.dir", tmp_path / "out" / NAME))}  # fmt: skip
    status, output = call_main(
        *["--multirun"] * (kind == "sweep"), "+experiment=rotation", "dataset=image_folder",
        *quoted.values(), "dataset.image_size=8", "dataset.labels_per_class=2", "model.widths=[4]",
        "model.blocks=[1]", "floors=false", "figures=true", f"tracking.uri={uri}",
        "schedule.epochs=1", "pretext.schedule.epochs=1",
    )  # fmt: skip
    assert status == 0, output
    assert "Traceback" not in output
    assert "could not be drawn" not in output
    runs = all_runs(uri)
    assert len(runs) == (3 if kind == "sweep" else 2)
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert len([*(tmp_path / "out" / NAME).rglob("weights.safetensors")]) == 2
    assert len([*(tmp_path / "out" / NAME).rglob("confusion_matrix.png")]) == 1
    assert {path.name for path in tmp_path.iterdir()} <= {
        *(
            "out",
            NAME,
            "mlflow.db",
            ".mlflow.db.locks",
            "mlruns",
            "image_cache",
            "multirun",
            "outputs",
        )
    }
