"""Images of all kinds become square RGB arrays."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_rot.data import image_folder


def rgb(mode: str, color: object, path: Path, **save: object) -> list[int]:
    """The color, after decoding, of a uniform image of this mode and format."""
    Image.new(mode, (10, 10), color).save(path, **save)
    return read_one(path, 4)[:, 2, 2].tolist()


def read_one(path: Path, size: int) -> torch.Tensor:
    """The image as it is in a data set, uint8 ``[3, size, size]``."""
    root = path.parent / "root"
    for folder in ("train/x", "train/y", "test/x"):
        (root / folder).mkdir(parents=True)
        shutil.copy(path, root / folder)
    return image_folder(root, size).train.images[:][0]


@pytest.mark.parametrize(
    ("mode", "color", "suffix", "expected"),
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
def test_every_mode_becomes_rgb(mode, color, suffix, expected, tmp_path):
    found = rgb(mode, color, tmp_path / f"image.{suffix}")
    assert np.abs(np.subtract(found, expected)).max() <= 8, found


@pytest.mark.parametrize("shape", [(20, 60), (60, 20), (21, 60)])
def test_images_are_center_cropped_to_a_square_before_resizing(shape, tmp_path):
    pixels = np.zeros((*shape, 3), np.uint8)
    short = min(shape)
    top, left = (shape[0] - short) // 2, (shape[1] - short) // 2
    pixels[top : top + short, left : left + short] = 255
    Image.fromarray(pixels).save(tmp_path / "image.png")
    assert (read_one(tmp_path / "image.png", 10) == 255).all()


def test_photographs_stored_sideways_are_rotated_upright(tmp_path):
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:8] = 255  # white above black, to be rotated clockwise for viewing
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "image.jpg", exif=exif, quality=100)
    upright = read_one(tmp_path / "image.jpg", 16)[0].float()
    assert upright[:, :6].max() < 20
    assert upright[:, 10:].min() > 235


def test_large_jpegs_look_as_if_decoded_at_full_size(tmp_path):
    x, y = np.meshgrid(np.arange(300), np.arange(260))
    pixels = np.stack([x * 255 // 300, y * 255 // 260, (x + y) * 255 // 560], 2).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.jpg", quality=95)
    square = Image.open(tmp_path / "image.jpg").crop((20, 0, 280, 260))
    expected = np.asarray(square.resize((16, 16), Image.Resampling.BOX)).transpose(2, 0, 1)
    difference = read_one(tmp_path / "image.jpg", 16).numpy().astype(int) - expected
    assert np.abs(difference).max() <= 4
