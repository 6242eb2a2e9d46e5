"""A logged model gives what its run's own evaluation gave, from arrays and from files."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import pickle
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.entities import LoggedModelStatus
from PIL import Image

from ssl_rot.data import digits
from ssl_rot.deploy.logged_model import log_classifier
from ssl_rot.tracking import Tracker


@pytest.fixture(scope="module")
def tracker(rotation_run):
    return Tracker("ssl_rot", f"sqlite:///{rotation_run.folder}/mlflow.db")


@pytest.fixture(scope="module")
def run_id(rotation_run):
    return rotation_run.runs["downstream"].info.run_id


@pytest.fixture(scope="module")
def logged(rotation_run, tracker, run_id, points):
    before = points(tracker.store.uri, run_id)
    uri = log_classifier(tracker.store, run_id)
    assert points(tracker.store.uri, run_id) == before  # no point of the run is doubled
    return tracker.store.client.get_logged_model(uri.removeprefix("models:/"))


@pytest.fixture(scope="module")
def folder(logged):
    return Path(logged.artifact_location)


@pytest.fixture(scope="module")
def loaded(folder):
    return mlflow.pyfunc.load_model(str(folder))


@pytest.fixture(scope="module")
def own(rotation_run):
    return pd.read_parquet(rotation_run.artifact("downstream", "predictions.parquet"))


@pytest.fixture(scope="module")
def images():
    return digits(8).test.images[:].permute(0, 2, 3, 1).numpy()


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(file, "PNG")
    return file.getvalue()


def test_arrays_give_the_runs_own_evaluation_to_the_bit(loaded, images, own):
    given = loaded.predict(images)
    assert given.dtype == np.float32
    assert np.array_equal(given.argmax(1), own["prediction"])
    assert np.array_equal(given.max(1), own["probability"])


def test_frames_of_paths_do_too_and_name_the_classes(loaded, images, own, tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(len(images))]
    for path, pixels in zip(paths, images, strict=True):
        path.write_bytes(png(pixels))
    frame = pd.DataFrame({"path": [str(path) for path in paths]}, index=range(7, 7 + len(paths)))
    given = loaded.predict(frame)
    assert list(given.columns) == list("0123456789")
    assert given.index.equals(frame.index)
    assert np.array_equal(given.max(axis=1), own["probability"])


def test_frames_of_bytes_and_lists_of_base64_do_too(loaded, images, own):
    files = [png(pixels) for pixels in images[:5]]
    from_bytes = loaded.predict(pd.DataFrame({"image": files}))
    from_text = loaded.predict([base64.b64encode(file).decode() for file in files])
    from_pixels = loaded.predict(images[:5].tolist())
    assert from_bytes.equals(from_text)
    assert from_bytes.equals(from_pixels)
    assert np.allclose(from_bytes.max(axis=1), own["probability"][:5], atol=1e-6)


def test_photographs_in_color_become_gray_for_a_model_of_gray_images(loaded, tmp_path):
    color = np.full((40, 60, 3), (200, 30, 90), np.uint8)
    gray = np.asarray(Image.fromarray(color).convert("L"))
    for name, pixels in (("color", color), ("gray", gray)):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    given = loaded.predict(pd.DataFrame({"path": sorted(map(str, tmp_path.glob("*.png")))}))
    assert given.iloc[0].equals(given.iloc[1].rename(0))


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (np.zeros((1, 8, 8, 3), np.uint8), r"must be \[N, height, width, 1\].*not \[1, 8, 8, 3\]"),
        (np.zeros((8, 8, 1), np.uint8), "must be"),
        (np.zeros((1, 1, 8, 1), np.uint8), "two pixels a side"),
        (np.zeros((1, 8, 8, 1), np.float32), "whole numbers from 0 to 255"),
        (np.full((1, 8, 8, 1), 256), "whole numbers from 0 to 255"),
        ([], "not empty"),
        (["no base64!"], "not the base64"),
        (pd.DataFrame({"file": ["a.png"]}), "needs a column path"),
        (pd.DataFrame({"path": ["/dev/null"]}), "/dev/null is not a file"),
    ],
)
def test_other_inputs_are_refused(loaded, data, fault):
    with pytest.raises(ValueError, match=fault):
        loaded.predict(data)


def test_bombs_text_and_empty_files_are_refused_by_name(loaded, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    Image.new("L", (11, 11)).save(tmp_path / "bomb.png")
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "empty.png").touch()
    for name, fault in (("bomb", "11x11 pixels"), ("text", "identify"), ("empty", "identify")):
        with pytest.raises(ValueError, match=f"{name}.png: .*{fault}"):
            loaded.predict(pd.DataFrame({"path": [str(tmp_path / f"{name}.png")]}))


def test_a_server_reads_none_of_its_own_files(loaded, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["ssl_rot_served"], "_IS_SERVED", True)
    Image.new("L", (8, 8)).save(tmp_path / "secret.png")
    frame = pd.DataFrame({"path": [str(tmp_path / "secret.png")]})
    with pytest.raises(ValueError, match="none of its own files"):
        mlflow.pyfunc.load_model(str(folder)).predict(frame)


def test_the_model_says_what_it_is(logged, loaded, tracker, run_id, folder):
    assert logged.status == LoggedModelStatus.READY
    assert logged.source_run_id == run_id
    assert {metric.key for metric in logged.metrics} == {
        *("test_acc", "test_loss", "val_acc", "val_loss")
    }
    run = tracker.store.client.get_run(run_id)
    (output,) = run.outputs.model_outputs
    assert (output.model_id, output.step) == (logged.model_id, 2)
    meta = loaded.metadata
    assert meta.metadata["classes"] == list("0123456789")
    (inputs,) = meta.signature.inputs.inputs
    assert (inputs.type, inputs.shape) == (np.dtype(np.uint8), (-1, -1, -1, 1))
    assert meta.load_input_example(str(folder)).shape == (2, 12, 16, 1)
    assert "torch==" in (folder / "requirements.txt").read_text()


def test_a_second_call_finds_the_first_model(logged, tracker, run_id):
    assert log_classifier(tracker.store, run_id) == f"models:/{logged.model_id}"


def test_there_is_no_pickle_in_it_but_torchs_copy_of_the_example(folder):
    """MLflow's own check of it passes, which refuses whatever could run code."""
    from mlflow.pytorch import _validate_pt2_archive_is_pickle_free

    _validate_pt2_archive_is_pickle_free(str(folder / "data/model.pt2"))
    names = {path.name for path in (folder / "data").iterdir()}
    assert names == {"model.pt2", "classifier.json"}
    configs = [
        json.loads(content)["config"]
        for name, content in records(folder / "data/model.pt2").items()
        if name.endswith("_config.json")
    ]
    assert [entry["use_pickle"] for config in configs for entry in config.values()].count(True) == 0


def records(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


class Bomb:
    def __init__(self, witness):
        self.witness = witness

    def __reduce__(self):
        return Path.touch, (self.witness,)


def as_pickle(path, witness):
    path.write_bytes(pickle.dumps(Bomb(witness)))


def with_pickled_example(path, witness):
    """As torch reads it: sample inputs are unpickled without asking."""
    _rewrite(path, "sample_inputs/model.pt", lambda _: _saved(Bomb(witness)))


def with_code_as_guard(path, witness):
    def change(content):
        graph = json.loads(content)
        graph["guards_code"] = [f"__import__('pathlib').Path({str(witness)!r}).touch() is None"]
        return json.dumps(graph).encode()

    _rewrite(path, "models/model.json", change)


def _saved(value):
    import torch

    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def _rewrite(path, ending, change):
    content = records(path)
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in content.items():
            archive.writestr(name, change(value) if name.endswith(ending) else value)


def truncated(path, _):
    path.write_bytes(path.read_bytes()[:-100])


def with_a_changed_byte(path, _):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [as_pickle, with_pickled_example, with_code_as_guard, truncated, with_a_changed_byte],
)
def test_a_damaged_or_hostile_graph_is_refused_and_runs_nothing(folder, tmp_path, damage):
    copy = shutil.copytree(folder, tmp_path / "model")
    witness = tmp_path / "code_ran"
    damage(copy / "data/model.pt2", witness)
    with pytest.raises(ValueError, match=r"model\.pt2 is damaged, or not the file"):
        mlflow.pyfunc.load_model(str(copy)).predict(np.zeros((2, 8, 8, 1), np.uint8))
    assert not witness.exists()


@pytest.mark.parametrize("damage", [with_pickled_example, with_code_as_guard])
def test_torch_alone_would_run_them(folder, tmp_path, damage):
    """So that the test above can fail."""
    import torch

    path = shutil.copy(folder / "data/model.pt2", tmp_path / "model.pt2")
    damage(path, tmp_path / "code_ran")
    with contextlib.suppress(Exception):  # it is too late then
        torch.export.load(path).module()(torch.zeros(2, 8, 8, 1, dtype=torch.uint8))
    assert (tmp_path / "code_ran").exists()


@pytest.mark.slow(10)
def test_it_loads_where_there_is_no_ssl_rot(folder, images, own):
    code = (
        "import sys; sys.modules['ssl_rot'] = None; import mlflow, numpy; "
        "import json; "
        f"given = mlflow.pyfunc.load_model({str(folder)!r})"
        ".predict(numpy.array(json.loads(sys.stdin.read()), numpy.uint8)); "
        "print(json.dumps(given.argmax(1).tolist()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(images[:50].tolist()),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == own["prediction"][:50].tolist()
