"""The pictures: there, of a sensible size, and showing what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_rot.experiment.figures import confusion_matrix, curves, rotated_batch
from ssl_rot.pretext import Rotate


def pixels(path) -> np.ndarray:
    assert path.is_file()
    image = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert image.shape[0] > 100
    assert image.shape[1] > 100
    assert image.std() > 5  # not an empty page
    return image


def near(image: np.ndarray, colour: tuple[int, int, int], tolerance: int = 30) -> np.ndarray:
    return np.abs(image - colour).max(axis=2) < tolerance


@pytest.mark.parametrize("angles", [(0, 180), (0, 90, 180, 270), tuple(range(0, 360, 45))])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_turned_batch_has_a_row_for_each_turn(tmp_path, angles, channels):
    images = torch.rand(10, channels, 16, 16)
    inputs, targets = Rotate(angles)(images)
    mean, std = (0.5,) * channels, (0.25,) * channels
    path = rotated_batch(inputs, targets, angles, mean, std, tmp_path / "new folder" / "batch.png")
    image = pixels(path)
    height, width, _ = image.shape
    # Eight of the images, each about as wide as high.
    assert height / width == pytest.approx(len(angles) / 8, rel=0.35)


def test_a_turned_batch_shows_the_pixels_without_the_normalisation(tmp_path):
    mean, std = (0.2, 0.4, 0.6), (0.1, 0.2, 0.3)
    colour = torch.tensor([0.9, 0.1, 0.3])
    normalised = (colour - torch.tensor(mean)) / torch.tensor(std)
    images = normalised.view(1, 3, 1, 1).expand(8, 3, 16, 16)
    inputs, targets = Rotate((0, 90))(images)
    image = pixels(rotated_batch(inputs, targets, (0, 90), mean, std, tmp_path / "batch.png"))
    shown = near(image, (230, 26, 77), tolerance=3).mean()
    assert shown > 0.4


def test_a_turned_batch_does_not_mind_an_empty_row(tmp_path):
    inputs, targets = Rotate((0, 90))(torch.rand(3, 1, 8, 8))
    first = targets == 0
    pixels(
        rotated_batch(inputs[first], targets[first], (0, 90), (0.5,), (0.2,), tmp_path / "b.png")
    )


@pytest.mark.parametrize("epochs", [1, 2, 30])
@pytest.mark.parametrize("splits", [("train", "test"), ("train", "val", "test")])
def test_curves_draw_a_line_for_every_split(tmp_path, epochs, splits):
    history = [
        {f"{split}_{what}": 0.2 + 0.3 * place + 0.01 * epoch
         for place, split in enumerate(splits) for what in ("loss", "acc")}
        for epoch in range(epochs)
    ]  # fmt: skip
    image = pixels(curves(history, "a title", tmp_path / "curves.png"))
    colours = {"train": (0, 114, 178), "val": (0, 158, 115), "test": (213, 94, 0)}
    for split, colour in colours.items():
        assert near(image, colour).any() == (split in splits), split


def test_a_confusion_matrix_is_dark_where_the_guesses_are(tmp_path):
    truths = torch.arange(4).repeat_interleave(25)
    right = confusion_matrix(truths, truths, "abcd", "right", tmp_path / "right.png")
    wrong = confusion_matrix(truths.flip(0), truths, "abcd", "wrong", tmp_path / "wrong.png")

    def corners(path):
        dark = near(pixels(path), (8, 48, 107))
        rows, columns = np.nonzero(dark)
        dark = dark[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        size = len(dark) // 8
        return dark[:size, :size].mean(), dark[:size, -size:].mean()

    assert corners(right)[0] > 0.9 > 0.1 > corners(right)[1]
    assert corners(wrong)[0] < 0.1 < 0.9 < corners(wrong)[1]


def test_a_row_of_the_confusion_matrix_is_a_true_class(tmp_path):
    truths, guesses = torch.tensor([0, 1, 2]), torch.tensor([2, 1, 2])
    path = confusion_matrix(guesses, truths, "abc", "first taken for last", tmp_path / "m.png")
    rows, columns = np.nonzero(near(pixels(path), (8, 48, 107)))
    # Dark are (0, 2), (1, 1) and (2, 2): nothing in the first column.
    height, width = rows.max() - rows.min(), columns.max() - columns.min()
    assert height / width == pytest.approx(3 / 2, rel=0.1)


def test_a_class_without_test_images_is_no_division_by_zero(tmp_path):
    truths, guesses = torch.tensor([0, 0, 1]), torch.tensor([0, 2, 1])
    with np.errstate(all="raise"):
        pixels(confusion_matrix(guesses, truths, "abc", "t", tmp_path / "m.png"))


def test_a_thousand_classes_fit_on_a_page(tmp_path):
    classes = [f"class number {i}" for i in range(1000)]
    truths = torch.arange(1000)
    image = pixels(confusion_matrix(truths, truths, classes, "many", tmp_path / "m.png"))
    assert max(image.shape) < 2500
