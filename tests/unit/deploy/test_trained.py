"""A finished run gives back the classifier that it evaluated, with its preprocessing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from ssl_rot.data import digits
from ssl_rot.data.folder.decoding import decode
from ssl_rot.deploy.trained import load_trained
from ssl_rot.errors import TrackingError, WeightsError
from ssl_rot.tracking import Tracker


def runs_of(ran):
    return Tracker("ssl_rot", f"sqlite:///{ran.folder}/mlflow.db").runs


def own_predictions(ran):
    return pd.read_parquet(ran.artifact("downstream", "predictions.parquet"))


@pytest.fixture(scope="module")
def trained(rotation_run):
    return load_trained(runs_of(rotation_run), rotation_run.runs["downstream"].info.run_id)


@pytest.fixture(scope="module")
def test_images():
    """The test images as anybody has them: uint8 ``[N, H, W, C]``."""
    return digits(8).test.images[:].permute(0, 2, 3, 1).contiguous()


def test_images_of_the_runs_size_give_its_own_evaluation_to_the_bit(
    rotation_run, trained, test_images
):
    own = own_predictions(rotation_run)
    with torch.inference_mode():  # in the batches that the run evaluates in
        given = torch.cat([trained.classifier(batch) for batch in test_images.split(256)])
    assert given.dtype == torch.float32
    assert given.shape == (360, 10)
    assert given.argmax(1).tolist() == own["prediction"].tolist()
    assert np.array_equal(given.max(1).values.numpy(), own["probability"].to_numpy())


def test_it_says_the_names_of_its_classes(trained):
    assert trained.classifier.classes == tuple("0123456789")
    assert trained.config["dataset"]["name"] == "digits"


def test_the_exported_graph_takes_any_number_of_images_of_any_size(trained):
    graph = trained.classifier.export().module()
    for shape in [(1, 8, 8), (5, 8, 8), (2, 9, 40), (3, 40, 9), (1, 2, 2), (300, 8, 8)]:
        images = torch.randint(0, 256, (*shape, 1), dtype=torch.uint8)
        with torch.inference_mode():
            assert torch.equal(graph(images), trained.classifier(images)), shape


def test_a_folder_of_photographs_gives_its_own_evaluation_to_the_bit(tmp_path, run_job):
    rng = np.random.default_rng(0)
    for number in range(16):
        split, label = ("train", "test")[number % 2], ("red", "blue")[number // 8]
        folder = tmp_path / "pictures" / split / label
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (30, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    ran = run_job(
        tmp_path,
        *("dataset=image_folder", f"dataset.root={tmp_path}/pictures", "dataset.image_size=16"),
        *("dataset.train_size=null", "dataset.augment.crop_padding=0"),
    )
    classifier = load_trained(runs_of(ran), ran.runs["downstream"].info.run_id).classifier
    assert classifier.classes == ("blue", "red")
    paths = sorted((tmp_path / "pictures/test").rglob("*.png"))
    decoded = torch.from_numpy(np.stack([decode(str(path), 16) for path in paths]))
    with torch.inference_mode():
        given = classifier(decoded.permute(0, 2, 3, 1).contiguous())
    assert np.array_equal(given.max(1).values, own_predictions(ran)["probability"])


def test_a_run_that_recorded_no_inputs_is_read_from_its_data(
    rotation_run, trained, test_images, monkeypatch
):
    runs = runs_of(rotation_run)
    artifact = runs.artifact

    def without_inputs(run_id, name, folder):
        if name == "inputs.json":
            raise TrackingError("no such artifact")
        return artifact(run_id, name, folder)

    monkeypatch.setattr(runs, "artifact", without_inputs)
    older = load_trained(runs, trained.run.run_id).classifier
    assert older.classes == trained.classifier.classes
    with torch.inference_mode():
        assert torch.equal(older(test_images), trained.classifier(test_images))


def test_a_pretext_run_is_no_classifier(rotation_run):
    run_id = rotation_run.runs["pretext"].info.run_id
    with pytest.raises(TrackingError, match=f"Run {run_id} is a pretext run"):
        load_trained(runs_of(rotation_run), run_id)


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("weights.safetensors", b"\x80\x04garbage", WeightsError),
        ("inputs.json", b"{}", TrackingError),
    ],
)
def test_damaged_artifacts_are_named(rotation_run, trained, monkeypatch, name, content, error):
    runs = runs_of(rotation_run)
    artifact = runs.artifact

    def damaged(run_id, asked, folder):
        path = artifact(run_id, asked, folder)
        if asked == name:
            path.write_bytes(content)
        return path

    monkeypatch.setattr(runs, "artifact", damaged)
    with pytest.raises(error, match=name):
        load_trained(runs, trained.run.run_id)
