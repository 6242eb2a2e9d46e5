"""Parquet and folders of save_to_disk as data sets, on sets made here; nothing is downloaded."""

from __future__ import annotations

import io
import logging
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from ssl_rot.data import huggingface, image_folder, measure
from ssl_rot.errors import DataError

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def own_arrow_cache(tmp_path, monkeypatch):
    """The library converts Parquet into Arrow in a cache of its own."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "arrow")
    datasets.disable_progress_bars()


def pixels(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def encode(number: int, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels(number)).save(file, kind)
    return file.getvalue()


def table(labels: list, first: int = 0) -> pd.DataFrame:
    """Images numbered from ``first``, encoded as the library stores them."""
    images = [{"bytes": encode(first + i), "path": f"{i}.png"} for i in range(len(labels))]
    return pd.DataFrame({"image": images, "label": labels})


@pytest.fixture
def folder(tmp_path) -> Path:
    """train-0.parquet with two cats and two dogs, test-0.parquet with one of each."""
    path = tmp_path / "pets"
    path.mkdir()
    table(["dog", "cat", "dog", "cat"]).to_parquet(path / "train-0.parquet")
    table(["cat", "dog"], first=10).to_parquet(path / "test-0.parquet")
    return path


def load(path: Path, **options):
    return huggingface(str(path), **({"image": "image", "label": "label"} | options), image_size=8)


def stored(*numbers: int) -> torch.Tensor:
    return torch.from_numpy(np.stack([pixels(number).transpose(2, 0, 1) for number in numbers]))


def test_a_folder_of_parquet_files(folder):
    source = load(folder)
    assert source.classes == ("cat", "dog")
    assert source.train.labels.tolist() == [1, 0, 1, 0]
    assert source.test.labels.tolist() == [0, 1]
    assert torch.equal(source.train.images[:], stored(0, 1, 2, 3))
    assert torch.equal(source.test.images[:], stored(10, 11))
    assert source.statistics == measure(source.train.images)


def test_one_file_is_split_like_a_single_tree(tmp_path):
    table(["a"] * 10 + ["b"] * 20).to_parquet(tmp_path / "all.parquet")
    source = load(tmp_path / "all.parquet", test_fraction=0.2)
    assert source.train.labels.bincount().tolist() == [8, 16]
    assert source.test.labels.bincount().tolist() == [2, 4]
    again = load(tmp_path / "all.parquet", test_fraction=0.2)
    assert torch.equal(again.test.images[:], source.test.images[:])


@pytest.fixture
def on_disk(tmp_path) -> Path:
    """What save_to_disk leaves, with ClassLabels not in the order of the alphabet; -1 and null."""
    features = datasets.Features(
        {"photo": datasets.Image(), "y": datasets.ClassLabel(names=["zebra", "yak", "ape"])}
    )

    def make(labels: list, first: int):
        images = [{"bytes": encode(first + i), "path": None} for i in range(len(labels))]
        return datasets.Dataset.from_dict({"photo": images, "y": labels}, features=features)

    splits = {"train": make([1, 0, -1, 1, None, 0], 0), "validation": make([0, 1], 10)}
    splits["more"] = make([0, -1], 20)
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "disk")
    return tmp_path / "disk"


def test_a_folder_of_save_to_disk(on_disk, caplog):
    options = {"image": "photo", "label": "y", "test_split": "validation"}
    source = load(on_disk, **options)
    assert source.classes == ("zebra", "yak")
    assert "classes without training images are left out:\n  'ape'" in caplog.text
    assert source.train.labels.tolist() == [1, 0, -1, 1, -1, 0]
    assert source.test.labels.tolist() == [0, 1]
    assert torch.equal(source.train.images[:], stored(*range(6)))
    more = load(on_disk, **options, unlabelled="more")
    assert more.train.labels.tolist() == [1, 0, -1, 1, -1, 0, -1, -1]
    assert torch.equal(more.train.images[:], stored(*range(6), 20, 21))
    assert torch.equal(more.test.images[:], source.test.images[:])


def test_a_single_split_on_disk_is_the_train_split(tmp_path):
    data = datasets.Dataset.from_pandas(table(["a", "b"] * 5))
    data.save_to_disk(tmp_path / "one")
    assert len(load(tmp_path / "one", test_fraction=0.2).train) == 8


@pytest.mark.parametrize(
    ("labels", "classes", "encoded"),
    [
        ([10, 9, 10, -1], ("9", "10"), [1, 0, 1, -1]),  # numbers, not texts, in order
        (["b", "a", None, "b"], ("a", "b"), [1, 0, -1, 1]),
        ([True, False, True, None], ("False", "True"), [1, 0, 1, -1]),
    ],
)
def test_labels_of_every_kind(tmp_path, labels, classes, encoded):
    data = table(labels)
    data["image"] = [each["bytes"] for each in data["image"]]  # a plain column of bytes
    data.to_parquet(tmp_path / "train-0.parquet")
    table(labels[:2], first=10).assign(image=data["image"][:2]).to_parquet(
        tmp_path / "test-0.parquet"
    )
    source = load(tmp_path)
    assert (source.classes, source.train.labels.tolist()) == (classes, encoded)


def test_the_pixels_are_those_of_an_image_folder(tmp_path):
    """Large JPEGs, which are decoded at a smaller size, and hence by the same code."""
    rows = []
    for number in range(4):
        image = Image.fromarray(pixels(number)).resize((50, 70))
        path = tmp_path / "files" / "ab"[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
        rows.append({"image": path.read_bytes(), "label": "ab"[number % 2]})
    rows.sort(key=lambda row: row["label"])
    pd.DataFrame(rows).to_parquet(tmp_path / "all.parquet")
    of_files = image_folder(tmp_path / "files", 8, test_fraction=0.5)
    of_table = load(tmp_path / "all.parquet", test_fraction=0.5)
    assert torch.equal(of_table.train.images[:], of_files.train.images[:])
    assert torch.equal(of_table.test.images[:], of_files.test.images[:])
    assert of_table.statistics == of_files.statistics


def test_decoded_once_in_parallel_and_again_after_a_change(tmp_path, caplog):
    path = tmp_path / "all.parquet"

    def decodes() -> bool:
        caplog.clear()
        with caplog.at_level(logging.INFO, "ssl_rot"):
            load(path, test_fraction=0.1)
        return "Decoding 600 images from" in caplog.text

    table(["a", "b"] * 300).to_parquet(path)  # three chunks, so that worker processes start
    assert decodes()
    assert not decodes()
    before = load(path, test_fraction=0.1)
    assert torch.equal(before.train.images.base, stored(*range(600)))
    table(["a", "b"] * 300, first=1).to_parquet(path)
    assert decodes()
    assert load(path, test_fraction=0.1).fingerprint != before.fingerprint


def test_a_set_that_is_saved_again_in_its_place_is_decoded_again(tmp_path):
    for first in (0, 50):
        data = datasets.Dataset.from_pandas(table(["a", "b"] * 5, first=first))
        data.save_to_disk(tmp_path / "one")
        source = load(tmp_path / "one", test_fraction=0.2)
        assert torch.equal(source.train.images.base, stored(*range(first, first + 10)))


def test_a_chunk_may_reach_from_one_split_into_the_next(tmp_path):
    table(["a", "b"] * 150).to_parquet(tmp_path / "train-0.parquet")
    table(["a", "b"] * 150, first=300).to_parquet(tmp_path / "test-0.parquet")
    assert torch.equal(load(tmp_path).test.images.base, stored(*range(600)))


def test_the_fingerprint_depends_on_the_content_and_not_on_the_location(tmp_path, folder):
    first = load(folder).fingerprint
    moved = folder.rename(tmp_path / "moved")
    assert load(moved).fingerprint == first
    datasets.load_dataset(str(moved)).save_to_disk(tmp_path / "saved")
    assert load(tmp_path / "saved").fingerprint == first
    table(["dog", "cat", "cat", "cat"]).to_parquet(moved / "train-0.parquet")  # another label
    assert load(moved).fingerprint != first


def add_bad_images(folder: Path) -> None:
    data = table(["dog", "cat", "dog", "cat", "cat", "dog"])
    data.at[0, "image"] = {"bytes": b"no image", "path": None}
    data.at[3, "image"] = {"bytes": b"", "path": None}
    data.at[4, "image"] = None
    data.to_parquet(folder / "train-0.parquet")


def test_bad_images_are_named_and_counted(folder):
    add_bad_images(folder)
    with pytest.raises(DataError) as error:
        load(folder)
    assert str(error.value) == (
        f"dataset.path={folder}: 3 of 8 files cannot be decoded; repair or remove them, or set "
        "dataset.skip_bad=true:\n  'train[0]': not an image\n  'train[3]': empty file\n"
        "  'train[4]': empty file"
    )


def test_bad_images_are_skipped_on_request(folder, caplog):
    add_bad_images(folder)
    source = load(folder, skip_bad=True)
    assert "3 of 8 files cannot be decoded and are skipped" in caplog.text
    assert torch.equal(source.train.images[:], stored(1, 2, 5))


def test_images_may_be_paths(folder, tmp_path):
    """As the library lists folders of images on the hub."""
    (tmp_path / "9.png").write_bytes(encode(9))
    data = table(["dog", "cat"])
    data.at[0, "image"] = {"bytes": None, "path": str(tmp_path / "9.png")}
    data.to_parquet(folder / "train-0.parquet")
    assert torch.equal(load(folder).train.images[:], stored(9, 1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"test_split": "val"},
            r"test_split=val is not one of its splits: train \(4 images\); test \(2 images\)"
            r"(.*)Columns: image \(dict\), label \(\w*string\)",
        ),
        ({"train_split": "all"}, "dataset.train_split=all is not one of its splits: train"),
        ({"unlabelled": "more"}, "dataset.unlabelled=more is not one of its splits"),
        ({"test_split": None}, "dataset.test_split=null is not one of its splits"),
        ({"unlabelled": "test"}, "each needs a split of its own"),
        ({"test_fraction": 0.2}, r"has a split test, so that dataset.test_fraction=0.2 must be nu"),
        (
            {"image": "img"},
            "dataset.image=img is not a column of the split train, which has",
        ),
        ({"label": "y"}, "dataset.label=y is not a column of the split train"),
        ({"image": "label"}, "dataset.image=label holds no encoded images"),
        ({"label": "image"}, "dataset.label=image must hold whole numbers or strings"),
    ],
)
def test_wrong_splits_and_columns_are_listed(folder, options, message):
    with pytest.raises(DataError, match=message):
        load(folder, **options)


def test_a_test_split_without_labels_is_refused(folder):
    table(["cat", None], first=10).to_parquet(folder / "test-0.parquet")
    with pytest.raises(DataError, match="1 of 2 test images have no label"):
        load(folder)
    source = load(folder, test_split=None, test_fraction=0.5)
    assert len(source.train) == len(source.test) == 2


def test_a_class_that_is_only_tested_is_refused(folder):
    table(["cat", "cow"], first=10).to_parquet(folder / "test-0.parquet")
    with pytest.raises(DataError, match="class 'cow' has test images and no training images"):
        load(folder)


@pytest.mark.parametrize("name", ["nowhere/", "text.parquet"])
def test_what_cannot_be_loaded_is_reported(tmp_path, name):
    (tmp_path / "text.parquet").write_text("no Parquet")
    with pytest.raises(DataError, match=r"cannot be loaded: (.|\n)*It must be a Parquet file"):
        load(tmp_path / name)


def test_a_missing_library_is_named_with_the_command_that_installs_it(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match="pip install 'datasets>=4'"):
        load(folder)


def test_a_rotation_run(run_job, tmp_path):
    """The whole way: pre-training on every image, then training on a part of the labels."""
    labels = ["a"] * 40 + ["b"] * 12 + [None] * 8
    table(labels).to_parquet(tmp_path / "all.parquet")
    ran = run_job(
        tmp_path,
        *("+experiment=rotation", "dataset=huggingface", "dataset.label_fraction=0.1"),
        *(f"dataset.path={tmp_path}/all.parquet", "dataset.test_fraction=0.25"),
        *("dataset.image_size=16", "dataset.labels_per_class=null", "dataset.train_size=null"),
    )
    # Those without a label too, each in its four rotations.
    assert ran.history("pretext")[0]["images_processed"] == 4 * (39 + 8)
    downstream = ran.runs["downstream"]
    assert downstream.data.tags["ssl_rot.labels"] == "4"
    assert downstream.info.run_name == "rotation-huggingface-10%labels-seed0"
    assert 0 <= ran.value <= 1
