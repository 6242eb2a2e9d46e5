"""``python -m ssl_rot.predict``: the run's own predictions for any image files."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ssl_rot import predict
from ssl_rot.data import digits
from ssl_rot.deploy import loading
from ssl_rot.deploy.logged_model import log_classifier
from ssl_rot.tracking import Tracker
from ssl_rot.tracking.logged_models import register_model


@pytest.fixture
def call(monkeypatch, call_entry):
    """The command in this process: its exit status, standard output and standard error."""

    def called(model, *arguments, uri=None):
        if uri is not None:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        return call_entry(predict.main, model, *arguments)

    return called


def rows(text):
    header, *lines = csv.reader(io.StringIO(text))
    assert header == ["path", "class", "probability"]
    return [(path, label, np.float32(probability)) for path, label, probability in lines]


def uri_of(ran):
    return f"sqlite:///{ran.folder}/mlflow.db"


def id_of(ran):
    return ran.runs["downstream"].info.run_id


def own_predictions(ran, classes):
    own = pd.read_parquet(ran.artifact("downstream", "predictions.parquet"))
    labels = [classes[index] for index in own["prediction"]]
    return list(zip(labels, own["probability"], strict=True))


@pytest.fixture
def call_on_photographs(call, photograph_run):
    return lambda *arguments: call(id_of(photograph_run), *arguments, uri=uri_of(photograph_run))


def test_a_runs_own_test_images_give_its_own_predictions(
    call_on_photographs, photograph_run, photographs
):
    status, output, errors = call_on_photographs(photographs / "test")
    assert (status, errors) == (0, "")
    paths, *given = zip(*rows(output), strict=True)
    assert list(zip(*given, strict=True)) == own_predictions(photograph_run, ["blue", "red"])
    assert paths == tuple(str(path) for path in sorted(photographs.glob("test/*/*"), key=str))


def test_gray_images_stay_gray(call, rotation_run, tmp_path):
    images = digits(8).test.images[:]
    for number, image in enumerate(images[:, 0].numpy()):
        Image.fromarray(image).save(tmp_path / f"{number:03}.png")
    status, output, _ = call(id_of(rotation_run), tmp_path, uri=uri_of(rotation_run))
    assert status == 0
    given = [row[1:] for row in rows(output)]
    assert given == own_predictions(rotation_run, "0123456789")


def test_files_folders_and_patterns_in_their_order_batch_by_batch(
    call_on_photographs, photographs, monkeypatch
):
    monkeypatch.setattr("ssl_rot.deploy.prediction.BATCH", 3)
    first = photographs / "test/red/1.jpg"
    pattern = f"{photographs}/**/*.png"
    status, output, _ = call_on_photographs(first, pattern, photographs / "test/blue")
    assert status == 0
    expected = [first, *sorted(photographs.rglob("*.png"), key=str)]
    expected += sorted(photographs.glob("test/blue/*"), key=str)
    assert [row[0] for row in rows(output)] == [str(path) for path in expected]


def png_of_size(width, height):
    """A PNG that says it is this large, of a few bytes."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def test_what_is_no_image_is_named_and_skipped(call_on_photographs, photographs, tmp_path):
    good = photographs / "test/red/1.jpg"
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "short.jpg").write_bytes(good.read_bytes()[:-300])
    (tmp_path / "bomb.png").write_bytes(png_of_size(10_000, 10_000))
    (tmp_path / "bigger_bomb.png").write_bytes(png_of_size(60_000, 60_000))
    (tmp_path / "program.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    (tmp_path / "broken").symlink_to("nowhere")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "z.jpg").write_bytes(good.read_bytes())
    status, output, errors = call_on_photographs(
        good, tmp_path, tmp_path / "folder", tmp_path / "missing.png", f"{tmp_path}/*.gif"
    )
    assert status == 1
    assert [row[0] for row in rows(output)] == [str(good), str(tmp_path / "z.jpg")]
    found = dict(line.removeprefix("skipped ").split(": ", 1) for line in errors.splitlines())
    reasons = {
        "text.png": "not an image",
        "empty.jpg": "empty file",
        "short.jpg": "truncated",
        "bomb.png": "decompression bomb",
        "bigger_bomb.png": "decompression bomb",
        "program.eps": "PostScript is a program",
        "broken": "not a file, or a broken link",
        "pipe.png": "not a file, or a broken link",
        "folder": "a folder without files",
        "missing.png": "no such file or folder",
        "*.gif": "matches no file",
    }
    assert found.keys() == {repr(f"{tmp_path}/{name}") for name in reasons}
    for name, reason in reasons.items():
        assert reason in found[repr(f"{tmp_path}/{name}")]


@pytest.mark.parametrize("name", ["new/table.csv", "new/table.parquet"])
def test_a_table_holds_what_standard_output_shows(call_on_photographs, photographs, tmp_path, name):
    _, output, _ = call_on_photographs(photographs / "test")
    status, nothing, _ = call_on_photographs(photographs / "test", "--out", tmp_path / name)
    assert (status, nothing) == (0, "")
    if name.endswith(".csv"):
        assert (tmp_path / name).read_text() == output
    else:
        table = pd.read_parquet(tmp_path / name)
        assert list(table.itertuples(index=False, name=None)) == rows(output)
        assert table["probability"].dtype == np.float32
    assert [path.name for path in (tmp_path / "new").iterdir()] == [name.removeprefix("new/")]


def test_a_table_that_cannot_be_written_is_refused_before_the_first_prediction(
    call_on_photographs, photographs, tmp_path, monkeypatch
):
    monkeypatch.setattr("ssl_rot.deploy.prediction.decode", None)
    (tmp_path / "folder.csv").mkdir()
    status, _, errors = call_on_photographs(photographs, "--out", tmp_path / "folder.csv")
    assert (status, errors) == (2, f"{tmp_path}/folder.csv cannot be written: it is a folder\n")
    (tmp_path / "file").touch()
    status, _, errors = call_on_photographs(photographs, "--out", tmp_path / "file/x.csv")
    assert status == 2
    assert errors.startswith(f"{tmp_path}/file/x.csv cannot be written: ")
    status, _, errors = call_on_photographs(photographs, "--out", tmp_path / "x.txt")
    assert status == 2
    assert "x.txt must end in .csv or .parquet" in errors


@pytest.mark.parametrize("out", ["stdout", "table.csv", "table.parquet"])
def test_names_of_any_bytes(call_on_photographs, photographs, tmp_path, monkeypatch, out):
    folder = tmp_path / os.fsdecode(b"caf\xe9\n")
    folder.mkdir()
    (folder / "a.jpg").write_bytes((photographs / "test/red/1.jpg").read_bytes())
    (folder / "bad").touch()
    # pytest's stand-in for standard output is one of text; the real one is of bytes.
    real = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", real)
    options = [] if out == "stdout" else ["--out", tmp_path / out]
    status, _, errors = call_on_photographs(tmp_path, *options)
    assert status == 1
    assert errors == f"skipped {os.fspath(folder / 'bad')!r}: empty file\n"
    if out == "table.parquet":
        assert list(pd.read_parquet(tmp_path / out)["path"]) == [f"{tmp_path}/caf\\xe9\n/a.jpg"]
        return
    written = real.buffer.getvalue() if out == "stdout" else (tmp_path / out).read_bytes()
    assert os.fsencode(folder / "a.jpg") in written


def test_it_ends_with_its_reader(photograph_run, photographs, checkout):
    """As with ``| head -1``."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ssl_rot.predict", id_of(photograph_run), str(photographs)],
        cwd=photograph_run.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # Buffered, whatever the tests run in: what is left is written once more at the end.
        env=os.environ
        | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(checkout), "PYTHONUNBUFFERED": ""},
    )  # fmt: skip
    process.stdout.close()
    errors = process.stderr.read()
    assert (process.wait(), errors) == (0, "")


def test_help_imports_nothing_heavy(run_cli):
    done = run_cli("--help", module=("-X", "importtime", "-m", "ssl_rot.predict"))
    assert "IMAGES" in done.stdout
    assert {"torch", "mlflow", "numpy", "pandas", "PIL"}.isdisjoint(
        line.rpartition("|")[2].strip() for line in done.stderr.splitlines()
    )


def test_a_name_that_is_no_model_is_one_message_and_makes_nothing(
    call, tmp_path, monkeypatch, photograph_run
):
    monkeypatch.chdir(tmp_path)
    status, output, errors = call("nothing", tmp_path)
    assert (status, output) == (2, "")
    assert errors.startswith("nothing is not a model: ")
    status, output, errors = call("0" * 32, tmp_path, uri=f"sqlite:///{tmp_path}/mlflow.db")
    assert (status, output) == (2, "")
    assert errors.startswith(f"Run {'0' * 32} cannot be looked up: there is no database ")
    assert list(tmp_path.iterdir()) == []
    status, output, errors = call("0" * 32, tmp_path, uri=uri_of(photograph_run))
    assert (status, output) == (2, "")
    assert errors.startswith(f"Run {'0' * 32} is not in {uri_of(photograph_run)}: ")
    assert "Traceback" not in errors


@pytest.fixture(scope="module")
def registered(photograph_run):
    """The run's logged model, as the only version of a registered one."""
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(photograph_run.folder):
        # MLflow looks the model up in its default store.
        patch.setenv("MLFLOW_TRACKING_URI", uri_of(photograph_run))
        tracker = Tracker("ssl_rot", uri_of(photograph_run))
        uri = log_classifier(tracker.store, id_of(photograph_run))
        register_model(tracker.store, uri, id_of(photograph_run), "pictures", "best", {})
    return uri


def test_a_registered_model_predicts_as_its_run_did(
    call, registered, photograph_run, photographs, tmp_path
):
    """Also where one file gives no prediction."""
    (tmp_path / "text.png").write_text("no image")
    for name in ("models:/pictures@best", "models:/pictures/1", registered):
        names = (photographs / "test", tmp_path / "text.png")
        status, output, errors = call(name, *names, uri=uri_of(photograph_run))
        assert (status, errors) == (1, f"skipped '{tmp_path}/text.png': not an image\n")
        given = [row[1:] for row in rows(output)]
        assert given == own_predictions(photograph_run, ["blue", "red"])


@pytest.mark.parametrize("damage", ["model.pt2", "classifier.json"])
def test_a_damaged_logged_model_is_one_message(
    call, registered, photograph_run, photographs, monkeypatch, damage
):
    download = loading.download_model

    def damaged(name, folder):
        data = download(name, folder)
        content = (data / damage).read_bytes()
        (data / damage).write_bytes(content[: len(content) // 2])
        return data

    monkeypatch.setattr(loading, "download_model", damaged)
    status, output, errors = call(registered, photographs, uri=uri_of(photograph_run))
    assert (status, output) == (2, "")
    assert errors.startswith(f"{registered} cannot be read: ")
    assert errors.count("\n") == 1


def test_a_model_that_the_registry_lacks_is_one_message(call, photograph_run, tmp_path):
    status, _, errors = call("models:/other@best", tmp_path, uri=uri_of(photograph_run))
    assert status == 2
    assert errors.startswith(f"models:/other@best is not in {uri_of(photograph_run)}: ")
    missing = f"sqlite:///{tmp_path}/none.db"
    status, _, errors = call("models:/other@best", tmp_path, uri=missing)
    assert status == 2
    assert errors.startswith("models:/other@best cannot be looked up: there is no database ")
    assert not list(tmp_path.iterdir())
