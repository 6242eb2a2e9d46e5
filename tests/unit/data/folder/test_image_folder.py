"""Image folders as data sets: splits, statistics, fingerprint, bad files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_rot.data import image_folder, measure
from ssl_rot.errors import DataError


def test_two_trees(two_trees):
    source = image_folder(two_trees, 8)
    assert source.classes == ("cat", "dog")
    assert source.train.labels.tolist() == [0] * 5 + [1] * 5
    assert source.test.labels.tolist() == [0] * 2 + [1] * 2
    stored = np.asarray(Image.open(two_trees / "test" / "dog" / "1.png")).transpose(2, 0, 1)
    assert torch.equal(source.test.images[:][3], torch.from_numpy(stored.copy()))


def test_one_tree_is_always_split_the_same_way(tmp_path, write_images):
    for name, count in (("a", 10), ("b", 20)):
        write_images(tmp_path / "all" / name, count)
    source = image_folder(tmp_path / "all", 8, test_fraction=0.2)
    assert source.train.labels.bincount().tolist() == [8, 16]
    assert source.test.labels.bincount().tolist() == [2, 4]
    together = torch.cat([source.train.images[:], source.test.images[:]])
    assert len(together.unique(dim=0)) == 30, "disjoint"
    again = image_folder(tmp_path / "all", 8, test_fraction=0.2)
    assert torch.equal(again.test.images[:], source.test.images[:])


@pytest.mark.parametrize("test_fraction", [None, 0.2])
def test_unlabeled_images_are_for_the_pretext_task_only(tmp_path, write_images, test_fraction):
    for part in ("train", "test") if test_fraction is None else (".",):
        write_images(tmp_path / "all" / part / "a", 10)
        write_images(tmp_path / "all" / part / "b", 10)
    before = image_folder(tmp_path / "all", 8, test_fraction)
    write_images(tmp_path / "all" / "more" / "deeper", 7)
    source = image_folder(tmp_path / "all", 8, test_fraction, unlabelled="more")
    assert source.classes == ("a", "b")
    assert source.fingerprint != before.fingerprint
    assert torch.equal(source.test.images[:], before.test.images[:])
    assert torch.equal(source.train.images[:][:-7], before.train.images[:])
    assert torch.equal(source.train.labels[:-7], before.train.labels)
    assert source.train.labels[-7:].tolist() == [-1] * 7


@pytest.mark.parametrize("start", ["first", "second"])
def test_statistics_are_those_of_the_training_images(two_trees, start):
    (two_trees / "train" / "cat" / "0.png").write_text("bad, hence black")
    for _ in range(1 if start == "first" else 2):
        source = image_folder(two_trees, 8, skip_bad=True)
    assert source.statistics == measure(source.train.images)
    assert source.statistics != measure(source.test.images)


# --- fingerprint


def test_the_fingerprint_depends_on_the_content_and_not_on_the_location(two_trees, tmp_path):
    fingerprint = image_folder(two_trees, 8).fingerprint
    moved = tmp_path / "moved"
    shutil.copytree(two_trees, moved, copy_function=shutil.copyfile)  # new times
    assert image_folder(moved, 8).fingerprint == fingerprint
    assert image_folder(moved, 9).fingerprint != fingerprint
    # The same pixels in the same order, but one label differs.
    (moved / "train" / "cat" / "4.png").rename(moved / "train" / "dog" / "!.png")
    assert image_folder(moved, 8).fingerprint != fingerprint


def test_the_fingerprint_depends_on_pixels_even_if_file_sizes_are_equal(tmp_path):
    def fingerprint_of(shade):
        for part in ("train", "test"):
            for name in ("a", "b"):
                folder = tmp_path / str(shade) / part / name
                folder.mkdir(parents=True)
                Image.new("RGB", (8, 8), (shade, 0, 0)).save(folder / "0.bmp")
        return image_folder(tmp_path / str(shade), 8).fingerprint

    assert fingerprint_of(10) != fingerprint_of(20)


# --- test images that are training images


def test_test_images_that_equal_training_images_are_counted(two_trees, caplog):
    for number in (0, 1):
        shutil.copy(
            two_trees / "train/cat" / f"{number}.png", two_trees / f"test/dog/x{number}.png"
        )
    pixels = np.asarray(Image.open(two_trees / "train/dog/0.png"))
    # The same pixels in another order, and an image that is twice among the test images.
    Image.fromarray(pixels[::-1]).save(two_trees / "test/dog/flipped.png")
    shutil.copy(two_trees / "test/dog/0.png", two_trees / "test/cat/twice.png")
    image_folder(two_trees, 8)
    assert (
        f"dataset.root={two_trees}: 2 of 8 test images equal a training image, pixel for pixel"
    ) in caplog.text
    assert caplog.text.endswith(":\n  'test/dog/x0.png'\n  'test/dog/x1.png'\n")


def test_unlabeled_images_are_training_images_too(two_trees, caplog):
    (two_trees / "more").mkdir()
    shutil.copy(two_trees / "test/dog/0.png", two_trees / "more")
    image_folder(two_trees, 8, unlabelled="more")
    assert "1 of 4 test images equal" in caplog.text


# --- bad files


def add_bad_files(root: Path) -> None:
    """Damages or adds five training files: truncated, not an image, empty, broken link, pipe."""
    whole = (root / "train" / "cat" / "0.png").read_bytes()
    (root / "train" / "cat" / "0.png").write_bytes(whole[: len(whole) // 2])
    (root / "train" / "cat" / "notes.txt").write_text("not an image")
    (root / "train" / "dog" / "0.png").write_bytes(b"")
    (root / "train" / "dog" / "link.png").symlink_to("nowhere.png")
    os.mkfifo(root / "train" / "dog" / "pipe.png")


def test_bad_files_are_named_and_counted(two_trees):
    add_bad_files(two_trees)
    with pytest.raises(DataError) as error:
        image_folder(two_trees, 8)
    message = str(error.value)
    assert f"dataset.root={two_trees}: 5 of 17 files" in message
    assert "dataset.skip_bad=true" in message
    assert "'train/cat/0.png': " in message
    assert "'train/cat/notes.txt': not an image" in message
    assert "'train/dog/0.png': empty file" in message
    assert "'train/dog/link.png': not a file, or a broken link" in message
    assert "'train/dog/pipe.png': not a file" in message


@pytest.mark.parametrize("start", ["first", "second"])
def test_bad_files_are_skipped_only_on_request_and_counted(two_trees, caplog, start):
    expected = image_folder(two_trees, 8)
    add_bad_files(two_trees)
    if start == "second":
        image_folder(two_trees, 8, skip_bad=True)
        caplog.clear()
    source = image_folder(two_trees, 8, skip_bad=True)
    assert "5 of 17 files cannot be decoded and are skipped" in caplog.text
    assert source.train.labels.tolist() == [0] * 4 + [1] * 4
    good = [1, 2, 3, 4, 6, 7, 8, 9]
    assert torch.equal(source.train.images[:], expected.train.images[torch.tensor(good)])
    with pytest.raises(DataError, match="5 of 17"):
        image_folder(two_trees, 8)


@pytest.mark.parametrize(
    ("name", "target", "reason"),
    [
        ("cat/link", "link", "not a file, or a broken link"),
        ("cat/link", ".", "a link to a folder that contains it"),
        ("cat/link", "/", "a link to a folder that contains it"),
        ("cat/link", "../dog", "a link to a folder that contains it"),  # dog links back
    ],
)
def test_a_cycle_of_links_is_a_bad_file(two_trees, name, target, reason):
    """Named where it closes, not after as many rounds as the system allows."""
    (two_trees / "train" / name).symlink_to(target)
    bad = name
    if target == "../dog":
        (two_trees / "train" / "dog" / "back").symlink_to("../cat")
        bad = "cat/link/back"
    with pytest.raises(DataError, match=rf"(1|2) of \d\d files(.|\n)*train/{bad}': {reason}"):
        image_folder(two_trees, 8)
    count = len(image_folder(two_trees, 8, skip_bad=True).train)
    assert count == (20 if target == "../dog" else 10)


def test_names_cannot_break_a_message(two_trees, caplog):
    """A log file takes no bytes that are not UTF-8, and a line break would forge a line."""
    for name in (b"a\nERROR b", b"\xff", "ü %s".encode()):
        Path(os.fsdecode(os.fsencode(two_trees / "train/cat") + b"/" + name)).write_bytes(b"?")
    image_folder(two_trees, 8, skip_bad=True)
    lines = caplog.text.encode().decode().splitlines()
    for shown in (r"a\nERROR b", r"\udcff", "ü %s"):
        assert f"  'train/cat/{shown}': not an image" in lines


def test_a_long_list_of_bad_files_is_truncated(two_trees):
    for i in range(30):
        (two_trees / "train" / "cat" / f"bad {i:02}.png").write_bytes(b"?")
    with pytest.raises(DataError, match=r"30 of 44 files(.|\n)*and 20 more$"):
        image_folder(two_trees, 8)


def test_decompression_bombs_are_bad_files(two_trees, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 8 * 8)
    Image.new("RGB", (9, 8)).save(two_trees / "train" / "cat" / "large.png")
    Image.new("RGB", (90, 80)).save(two_trees / "train" / "cat" / "larger.png")
    with pytest.raises(DataError, match=r"2 of 16 files(.|\n)*large.png.*decompression bomb"):
        image_folder(two_trees, 8)


def test_floating_point_images_are_bad_files(two_trees):
    Image.new("F", (8, 8), 0.5).save(two_trees / "train" / "cat" / "f.tiff")
    with pytest.raises(DataError, match=r"f.tiff': floating-point pixels"):
        image_folder(two_trees, 8)


def test_postscript_is_never_run(two_trees, monkeypatch):
    """Pillow hands it to Ghostscript, a program that hostile files have broken out of."""
    Image.new("RGB", (8, 8)).save(two_trees / "train" / "cat" / "figure.eps")

    def run(*args, **kwargs):
        pytest.fail("it was run")

    monkeypatch.setattr("subprocess.check_call", run)
    with pytest.raises(DataError, match=r"figure\.eps': PostScript is a program, not an image"):
        image_folder(two_trees, 8)


def test_a_file_for_which_memory_was_short_is_tried_again(two_trees, monkeypatch):
    def exhausted(path, size):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("ssl_rot.data.folder.decoding.decode", exhausted)
        with pytest.raises(DataError, match="files cannot be decoded"):
            image_folder(two_trees, 8)
    assert len(image_folder(two_trees, 8).train) == 10
