"""torchvision's data sets from files in their published format, and the options in conf/dataset."""

from __future__ import annotations

import hashlib
import pickle
import tarfile
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
import torchvision.datasets as tv
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

import ssl_rot.data as data
from ssl_rot.errors import DataError

CONF = Path(__file__).parents[3] / "conf"
RNG = np.random.default_rng(0)


def pixels(count: int, size: int) -> np.ndarray:
    return RNG.integers(0, 256, (count, 3, size, size), dtype=np.uint8)


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args, **_kwargs):
        raise urllib.error.URLError("no network here")

    monkeypatch.setattr("urllib.request.urlopen", refuse)


# --- small files in the published formats; torchvision's checksums are replaced by theirs


def write_cifar(root: Path, dataset: type, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple]:
    """Returns the images and labels of both splits."""
    base = root / dataset.base_folder
    base.mkdir(parents=True)
    label_key = "fine_labels" if dataset is tv.CIFAR100 else "labels"
    written = {}
    for split, files in (("train", dataset.train_list), ("test", dataset.test_list)):
        images, labels, checksums = [], [], []
        for name, _ in files:
            part, part_labels = pixels(12, 32), RNG.permutation(np.arange(12) % 10).tolist()
            content = {"data": part.reshape(12, -1), label_key: part_labels}
            (base / name).write_bytes(pickle.dumps(content))
            images.append(part)
            labels += part_labels
            checksums.append([name, md5(base / name)])
        monkeypatch.setattr(dataset, f"{split}_list", checksums)
        written[split] = np.concatenate(images), labels
    meta = base / dataset.meta["filename"]
    meta.write_bytes(pickle.dumps({dataset.meta["key"]: [f"class {i}" for i in range(10)]}))
    monkeypatch.setattr(dataset, "meta", {**dataset.meta, "md5": md5(meta)})
    return written


def write_svhn(root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple]:
    root.mkdir(parents=True)
    written, splits = {}, {}
    for split, count in (("train", 12), ("test", 7)):
        images = pixels(count, 32)
        labels = np.arange(count) % 10
        path = root / f"{split}_32x32.mat"
        # Published as [row, column, channel, image], with label 10 for the digit 0.
        scipy.io.savemat(
            path,
            {"X": images.transpose(2, 3, 1, 0), "y": np.where(labels == 0, 10, labels)[:, None]},
        )
        splits[split] = [tv.SVHN.split_list[split][0], path.name, md5(path)]
        written[split] = images, labels.tolist()
    monkeypatch.setattr(tv.SVHN, "split_list", splits)
    return written


def write_stl10(root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple]:
    base = root / tv.STL10.base_folder
    base.mkdir(parents=True)
    written = {}
    for split, count in (("train", 10), ("test", 4), ("unlabeled", 5)):
        images = pixels(count, 96)
        # Published column by column, with labels from 1.
        images.transpose(0, 1, 3, 2).tofile(base / f"{split}_X.bin")
        labels = (np.arange(count) % 10).astype(np.uint8)
        if split != "unlabeled":
            (labels + 1).tofile(base / f"{split}_y.bin")
        written[split] = images, labels.tolist()
    for name in ("train_list", "test_list"):
        checksums = [[file, md5(base / file)] for file, _ in getattr(tv.STL10, name)]
        monkeypatch.setattr(tv.STL10, name, checksums)
    return written


WRITERS = {
    "cifar10": lambda root, patch: write_cifar(root, tv.CIFAR10, patch),
    "cifar100": lambda root, patch: write_cifar(root, tv.CIFAR100, patch),
    "svhn": write_svhn,
    "stl10": write_stl10,
}


def is_same(split: data.Split, written: tuple) -> bool:
    return torch.equal(split.images[:], torch.from_numpy(written[0])) and (
        split.labels.tolist() == written[1]
    )


@pytest.mark.parametrize("name", WRITERS)
def test_data_sets_load_from_their_files(name, tmp_path, monkeypatch):
    written = WRITERS[name](tmp_path / "data", monkeypatch)
    size = 96 if name == "stl10" else 32
    source = getattr(data, name)(tmp_path / "data", size)
    if name == "stl10":
        images = np.concatenate([written["train"][0], written["unlabeled"][0]])
        written["train"] = images, written["train"][1] + [-1] * 5
    assert is_same(source.train, written["train"])
    assert is_same(source.test, written["test"])
    assert len(source.classes) == 10
    assert source.train.images[:].is_contiguous()
    assert source.train.labels.dtype == source.test.labels.dtype == torch.int64


@pytest.mark.parametrize("name", WRITERS)
def test_without_files_and_network_the_error_names_the_files_to_provide(name, tmp_path):
    files = {"cifar10": "cifar-10-python.tar.gz", "cifar100": "cifar-100-python.tar.gz"}
    files |= {"svhn": "train_32x32.mat and .*test_32x32.mat", "stl10": "stl10_binary.tar.gz"}
    root = tmp_path / "nowhere"
    with pytest.raises(DataError, match=f"dataset.root={root}.*Put .*{files[name]} into {root}"):
        getattr(data, name)(root, 32)


def test_an_unknown_home_directory_is_a_folder_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=f"dataset.root=~nobody-here: .* into {tmp_path}/~nobody"):
        data.svhn("~nobody-here", 32)


def test_the_published_archive_is_sufficient(tmp_path, monkeypatch):
    written = write_cifar(tmp_path / "made", tv.CIFAR10, monkeypatch)
    root = tmp_path / "data"
    root.mkdir()
    with tarfile.open(root / tv.CIFAR10.filename, "w:gz") as archive:
        archive.add(tmp_path / "made" / tv.CIFAR10.base_folder, tv.CIFAR10.base_folder)
    monkeypatch.setattr(tv.CIFAR10, "tgz_md5", md5(root / tv.CIFAR10.filename))
    assert is_same(data.cifar10(root, 32).train, written["train"])


def test_a_damaged_file_is_rejected(tmp_path, monkeypatch):
    write_svhn(tmp_path / "data", monkeypatch)
    with (tmp_path / "data" / "test_32x32.mat").open("r+b") as file:
        file.seek(200)
        file.write(b"damage")
    with pytest.raises(DataError, match="could not be downloaded"):
        data.svhn(tmp_path / "data", 32)


def test_the_fingerprint_does_not_depend_on_the_location(tmp_path, monkeypatch):
    write_svhn(tmp_path / "a", monkeypatch)
    (tmp_path / "a").rename(tmp_path / "b")
    b = data.svhn(tmp_path / "b", 32).fingerprint
    (tmp_path / "b").rename(tmp_path / "c")
    assert data.svhn(tmp_path / "c", 32).fingerprint == b
    assert data.svhn(tmp_path / "c", 16).fingerprint != b


# --- conf/dataset


def load(option: str, *overrides: str):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose(overrides=[f"+dataset={option}", *overrides])
    return instantiate(cfg.dataset, seed=0)


@pytest.mark.parametrize("name", WRITERS)
def test_options_load_the_data_set_they_are_named_after(name, tmp_path, monkeypatch):
    WRITERS[name](tmp_path / "data", monkeypatch)
    dataset = load(name, f"dataset.root={tmp_path / 'data'}", "dataset.labels_per_class=null")
    assert dataset.name == name
    assert len(dataset.mean) == len(dataset.std) == 3
    assert dataset.augment.flip == (name != "svhn")


def test_the_digits_option_has_five_labels_per_class():
    dataset = load("digits")
    assert dataset.train.labels.bincount().tolist() == [5] * 10
    assert len(dataset.pretext_images) == 1437
    assert dataset.augment == data.Augment(crop_padding=2, flip=False)


def test_the_image_folder_option_passes_its_keys_to_the_source(two_trees):
    dataset = load("image_folder", f"dataset.root={two_trees}", "dataset.image_size=6")
    assert dataset.train.images.shape == (10, 3, 6, 6)


def test_every_option_is_tested():
    tested = {*WRITERS, "digits", "image_folder", "huggingface"}
    assert {path.stem for path in (CONF / "dataset").glob("*.yaml")} == tested
