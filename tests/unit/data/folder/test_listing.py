"""The layout of image folders."""

from __future__ import annotations

import errno
import inspect
import os
import shutil
import sys
from pathlib import Path

import pytest

from ssl_rot.data import image_folder
from ssl_rot.errors import DataError


@pytest.mark.parametrize("name", ["test", "train", "nowhere", "../more", "train/cat", "..", ""])
def test_unlabeled_images_cannot_be_test_images(two_trees, name):
    with pytest.raises(DataError, match=rf"dataset.unlabelled={name} must be the name of a folder"):
        image_folder(two_trees, 8, unlabelled=name)


def test_subfolders_and_links_belong_to_the_class_and_hidden_files_do_not(two_trees, write_images):
    write_images(two_trees / "train" / "cat" / "deeper" / "still", 3)
    write_images(two_trees.parent / "elsewhere", 2)
    (two_trees / "train" / "cat" / "linked").symlink_to(two_trees.parent / "elsewhere")
    (two_trees / "train" / "cat" / ".DS_Store").write_bytes(b"not an image")
    (two_trees / "train" / ".cache").mkdir()
    for folder in (two_trees / "train", two_trees / "test", two_trees / "train" / "cat"):
        (folder / "__MACOSX").mkdir()  # of archives made on a Mac
        (folder / "__MACOSX" / "notes").write_bytes(b"not an image")
    (two_trees / "train" / "README.txt").write_text("about these pictures")
    assert image_folder(two_trees, 8).train.labels.tolist() == [0] * 10 + [1] * 5


@pytest.mark.parametrize("folder", ["train", "train/cat", "train/cat/deeper", "more"])
def test_a_folder_that_cannot_be_read_is_named(two_trees, monkeypatch, folder):
    refused = two_trees / folder
    (two_trees / "train" / "cat" / "deeper").mkdir()
    (two_trees / "more").mkdir()
    scandir = os.scandir

    def refuse(path):  # as for mode 000, which root may read all the same
        if Path(path) == refused:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    message = rf"^dataset.root={two_trees}: {refused} cannot be read \(Permission denied\); make it"
    with pytest.raises(DataError, match=message):
        image_folder(two_trees, 8, unlabelled="more")


@pytest.mark.parametrize(
    ("target", "reason"), [("emu", "Too many levels"), ("/nowhere", "No such file")]
)
def test_a_class_folder_that_is_a_broken_link_is_named(two_trees, target, reason):
    """Without it, the class would be missing without a word."""
    (two_trees / "train" / "emu").symlink_to(target)
    with pytest.raises(DataError, match=rf"train/emu cannot be read \({reason}"):
        image_folder(two_trees, 8)


def test_a_missing_root_is_given_in_full(tmp_path, monkeypatch):
    """A job may run in a directory of its own (hydra.job.chdir=true)."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=f"^dataset.root=photos: .*{tmp_path}/photos/train/<class>"):
        image_folder("photos", 8)
    with pytest.raises(DataError, match=r"^dataset.root=~nobody-here: no such folder"):
        image_folder("~nobody-here", 8)


def test_a_class_without_test_images_is_named(two_trees, write_images, caplog):
    image_folder(two_trees, 8)
    assert "test images" not in caplog.text
    shutil.rmtree(two_trees / "test" / "dog")
    write_images(two_trees / "train" / "emu", 1)
    image_folder(two_trees, 8)
    assert f"dataset.root={two_trees}: no test images of:\n  'dog'\n  'emu'" in caplog.text


def no_root(root: Path) -> None:
    shutil.rmtree(root)


def no_classes(root: Path) -> None:
    shutil.rmtree(root / "train" / "cat")
    shutil.rmtree(root / "train" / "dog")


def one_class(root: Path) -> None:
    shutil.rmtree(root / "train" / "cat")


def empty_class(root: Path) -> None:
    (root / "train" / "emu").mkdir()


def class_without_training_images(root: Path) -> None:
    (root / "train" / "dog").rename(root / "train" / "fox")


def no_test(root: Path) -> None:
    shutil.rmtree(root / "test")


@pytest.mark.parametrize(
    ("break_it", "options", "message"),
    [
        (no_root, {}, "no such folder; expected .*/train/<class>/<images> and "),
        (no_classes, {}, "no class folders in .*train; expected one folder of images per class"),
        (one_class, {}, "the only class folder in .*train is 'dog'; need at least two"),
        (empty_class, {}, "class folder train/emu is empty; it must hold images"),
        (
            class_without_training_images,
            {},
            r"class 'dog' has test images and no training images(.|\n)*cat(.|\n)*fox",
        ),
        (no_test, {}, r"expected .*or .*/<class>/<images> and dataset.test_fraction"),
        (lambda root: None, {"test_fraction": 0.2}, "has train and test folders.*must be null"),
    ],
)
def test_a_wrong_layout_is_rejected(two_trees, break_it, options, message):
    break_it(two_trees)
    with pytest.raises(DataError, match=f"^dataset.root={two_trees}: {message}"):
        image_folder(two_trees, 8, **options)


def test_folders_nested_too_deeply_are_refused(two_trees, monkeypatch):
    deep = two_trees / "train" / "cat"
    for _ in range(60):
        deep = deep / "d"
    deep.mkdir(parents=True)
    depth = len(inspect.stack()) + 50
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(depth)
    try:
        with pytest.raises(DataError, match="nested too deeply"):
            image_folder(two_trees, 8)
    finally:
        sys.setrecursionlimit(limit)


def test_a_disk_that_fails_while_a_folder_is_listed_is_reported(two_trees, monkeypatch):
    class Failing:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def __iter__(self):
            raise OSError(errno.EIO, "Input/output error")  # of readdir: without a file name

    monkeypatch.setattr(os, "scandir", lambda path: Failing())
    with pytest.raises(DataError, match=r"cannot be read \(Input/output error\)"):
        image_folder(two_trees, 8)
