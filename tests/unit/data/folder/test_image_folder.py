"""Folders of images: layout, kinds of image, bad files."""

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


def test_one_tree_is_split_the_same_every_time(tmp_path, write_images):
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
def test_images_without_a_label_are_for_the_pretext_alone(tmp_path, write_images, test_fraction):
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


@pytest.mark.parametrize("name", ["test", "train", "nowhere", "../more", "train/cat"])
def test_test_images_never_count_as_unlabelled_ones(two_trees, name):
    with pytest.raises(DataError, match=rf"dataset.unlabelled={name} must be the name of a folder"):
        image_folder(two_trees, 8, unlabelled=name)


def test_subfolders_and_links_belong_to_the_class_and_hidden_files_do_not(two_trees, write_images):
    write_images(two_trees / "train" / "cat" / "deeper" / "still", 3)
    write_images(two_trees.parent / "elsewhere", 2)
    (two_trees / "train" / "cat" / "linked").symlink_to(two_trees.parent / "elsewhere")
    (two_trees / "train" / "cat" / ".DS_Store").write_bytes(b"not an image")
    (two_trees / "train" / ".cache").mkdir()
    (two_trees / "train" / "README.txt").write_text("about these pictures")
    assert image_folder(two_trees, 8).train.labels.tolist() == [0] * 10 + [1] * 5


# --- kinds of image


def rgb(mode: str, colour: object, path: Path, **save: object) -> list[int]:
    """The colour that a one-coloured image of this mode and format ends as."""
    Image.new(mode, (10, 10), colour).save(path, **save)
    return read_one(path, 4)[:, 2, 2].tolist()


def read_one(path: Path, size: int) -> torch.Tensor:
    """The image as a data set holds it, uint8 ``[3, size, size]``."""
    root = path.parent / "root"
    for folder in ("train/x", "train/y", "test/x"):
        (root / folder).mkdir(parents=True)
        shutil.copy(path, root / folder)
    return image_folder(root, size).train.images[:][0]


@pytest.mark.parametrize(
    ("mode", "colour", "suffix", "expected"),
    [
        ("RGB", (10, 200, 90), "png", (10, 200, 90)),
        ("RGB", (10, 200, 90), "jpg", (10, 200, 90)),
        ("RGB", (10, 200, 90), "webp", (10, 200, 90)),
        ("RGB", (10, 200, 90), "bmp", (10, 200, 90)),
        ("RGBA", (10, 200, 90, 128), "png", (10, 200, 90)),
        ("L", 77, "jpg", (77, 77, 77)),
        ("LA", (77, 128), "png", (77, 77, 77)),
        ("1", 1, "png", (255, 255, 255)),
        ("P", 5, "png", (5, 5, 5)),
        ("P", 5, "gif", (5, 5, 5)),
        ("I;16", 20_000, "png", (77, 77, 77)),
        ("I;16", 20_000, "tiff", (77, 77, 77)),
        ("I", 65535, "tiff", (255, 255, 255)),
        ("CMYK", (0, 255, 255, 0), "jpg", (255, 0, 0)),
        ("CMYK", (0, 255, 255, 0), "tiff", (255, 0, 0)),
    ],
)
def test_every_mode_becomes_rgb(mode, colour, suffix, expected, tmp_path):
    found = rgb(mode, colour, tmp_path / f"image.{suffix}")
    assert np.abs(np.subtract(found, expected)).max() <= 8, found


@pytest.mark.parametrize("shape", [(20, 60), (60, 20), (21, 60)])
def test_oblong_images_are_cropped_square_in_the_centre_before_resizing(shape, tmp_path):
    pixels = np.zeros((*shape, 3), np.uint8)
    short = min(shape)
    top, left = (shape[0] - short) // 2, (shape[1] - short) // 2
    pixels[top : top + short, left : left + short] = 255
    Image.fromarray(pixels).save(tmp_path / "image.png")
    assert (read_one(tmp_path / "image.png", 10) == 255).all()


def test_photographs_stored_on_their_side_are_put_upright(tmp_path):
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:8] = 255  # white above black, to be turned clockwise for viewing
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "image.jpg", exif=exif, quality=100)
    upright = read_one(tmp_path / "image.jpg", 16)[0].float()
    assert upright[:, :6].max() < 20
    assert upright[:, 10:].min() > 235


def test_large_jpegs_come_out_as_if_decoded_in_full(tmp_path):
    x, y = np.meshgrid(np.arange(300), np.arange(260))
    pixels = np.stack([x * 255 // 300, y * 255 // 260, (x + y) * 255 // 560], 2).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.jpg", quality=95)
    square = Image.open(tmp_path / "image.jpg").crop((20, 0, 280, 260))
    expected = np.asarray(square.resize((16, 16), Image.Resampling.BOX)).transpose(2, 0, 1)
    difference = read_one(tmp_path / "image.jpg", 16).numpy().astype(int) - expected
    assert np.abs(difference).max() <= 4


@pytest.mark.parametrize("start", ["first", "second"])
def test_statistics_are_those_of_the_training_images(two_trees, start):
    (two_trees / "train" / "cat" / "0.png").write_text("bad, and so black")
    for _ in range(1 if start == "first" else 2):
        source = image_folder(two_trees, 8, skip_bad=True)
    assert source.statistics == measure(source.train.images)
    assert source.statistics != measure(source.test.images)


# --- fingerprint


def test_the_fingerprint_depends_on_the_content_and_not_on_the_place(two_trees, tmp_path):
    fingerprint = image_folder(two_trees, 8).fingerprint
    moved = tmp_path / "moved"
    shutil.copytree(two_trees, moved, copy_function=shutil.copyfile)  # new times
    assert image_folder(moved, 8).fingerprint == fingerprint
    assert image_folder(moved, 9).fingerprint != fingerprint
    # The same pixels in the same order, and another label.
    (moved / "train" / "cat" / "4.png").rename(moved / "train" / "dog" / "!.png")
    assert image_folder(moved, 8).fingerprint != fingerprint


# --- what is refused


def spoil(root: Path) -> None:
    """Three kinds of bad file among the ten training images."""
    whole = (root / "train" / "cat" / "0.png").read_bytes()
    (root / "train" / "cat" / "0.png").write_bytes(whole[: len(whole) // 2])
    (root / "train" / "cat" / "notes.txt").write_text("not an image")
    (root / "train" / "dog" / "0.png").write_bytes(b"")
    (root / "train" / "dog" / "link.png").symlink_to("nowhere.png")
    os.mkfifo(root / "train" / "dog" / "pipe.png")


def test_bad_files_are_named_and_counted(two_trees):
    spoil(two_trees)
    with pytest.raises(DataError) as error:
        image_folder(two_trees, 8)
    message = str(error.value)
    assert f"dataset.root={two_trees}: 5 of 17 files" in message
    assert "dataset.skip_bad=true" in message
    assert "train/cat/0.png: " in message
    assert "train/cat/notes.txt: not an image" in message
    assert "train/dog/0.png: empty file" in message
    assert "train/dog/link.png: not a file, or a broken link" in message
    assert "train/dog/pipe.png: not a file" in message


@pytest.mark.parametrize("start", ["first", "second"])
def test_bad_files_are_skipped_only_on_request_and_counted(two_trees, caplog, start):
    expected = image_folder(two_trees, 8)
    spoil(two_trees)
    if start == "second":
        image_folder(two_trees, 8, skip_bad=True)
        caplog.clear()
    source = image_folder(two_trees, 8, skip_bad=True)
    assert "5 of 17 files give no image and are skipped" in caplog.text
    assert source.train.labels.tolist() == [0] * 4 + [1] * 4
    good = [1, 2, 3, 4, 6, 7, 8, 9]
    assert torch.equal(source.train.images[:], expected.train.images[torch.tensor(good)])
    with pytest.raises(DataError, match="5 of 17"):
        image_folder(two_trees, 8)


@pytest.mark.parametrize("target", ["circle", "."])
def test_a_circle_of_links_is_a_bad_file(two_trees, target):
    (two_trees / "train" / "cat" / "circle").symlink_to(target)
    with pytest.raises(DataError, match=r"1 of \d+ files(.|\n)*train/cat/circle.*broken link"):
        image_folder(two_trees, 8)


def test_a_long_list_of_bad_files_is_cut(two_trees):
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
    with pytest.raises(DataError, match=r"f.tiff: floating-point pixels"):
        image_folder(two_trees, 8)


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
        (one_class, {}, "the only class folder in .*train is 'dog'; need two"),
        (empty_class, {}, "class folder train/emu is empty; it must hold images"),
        (class_without_training_images, {}, r"class 'dog' is in test and not in train.*cat.*fox"),
        (no_test, {}, r"expected .*or .*/<class>/<images> and dataset.test_fraction"),
        (lambda root: None, {"test_fraction": 0.2}, "has train and test folders.*must be null"),
    ],
)
def test_a_folder_that_is_laid_out_wrongly_is_refused(two_trees, break_it, options, message):
    break_it(two_trees)
    with pytest.raises(DataError, match=f"^dataset.root={two_trees}: {message}"):
        image_folder(two_trees, 8, **options)


def test_other_pixels_in_files_of_the_same_size_are_other_data(tmp_path):
    def fingerprint_of(shade):
        for part in ("train", "test"):
            for name in ("a", "b"):
                folder = tmp_path / str(shade) / part / name
                folder.mkdir(parents=True)
                Image.new("RGB", (8, 8), (shade, 0, 0)).save(folder / "0.bmp")
        return image_folder(tmp_path / str(shade), 8).fingerprint

    assert fingerprint_of(10) != fingerprint_of(20)
