"""The figures: they exist, have a sensible size, and show what they claim to show."""

from __future__ import annotations

import mlflow
import numpy as np
import pytest
import torch
from matplotlib.text import Text
from PIL import Image

from ssl_rot.experiment import figures
from ssl_rot.experiment.figures import draw_confusion_matrix, draw_curves, draw_pretext_batch
from ssl_rot.pretext import Rotate

pytestmark = pytest.mark.figures  # drawn, not only saved


def pixels(path) -> np.ndarray:
    assert path.is_file()
    image = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert image.shape[0] > 100
    assert image.shape[1] > 100
    assert image.std() > 5  # not an empty page
    return image


def by_angle(inputs, targets, angles) -> dict[str, torch.Tensor]:
    return {f"{i}: {angle}°": inputs[targets == i] for i, angle in enumerate(angles)}


def is_near(image: np.ndarray, color: tuple[int, int, int], tolerance: int = 30) -> np.ndarray:
    return np.abs(image - color).max(axis=2) < tolerance


@pytest.mark.parametrize("angles", [(0, 180), (0, 90, 180, 270), tuple(range(0, 360, 45))])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_pretext_batch_has_a_row_for_each_target(tmp_path, angles, channels):
    images = torch.rand(10, channels, 16, 16)
    inputs, targets = Rotate(angles)(images)
    mean, std = (0.5,) * channels, (0.25,) * channels
    path = draw_pretext_batch(
        by_angle(inputs, targets, angles), mean, std, tmp_path / "new folder" / "batch.png"
    )
    image = pixels(path)
    height, width, _ = image.shape
    # Eight of the images, each about as wide as it is high.
    assert height / width == pytest.approx(len(angles) / 8, rel=0.35)


def test_a_pretext_batch_shows_the_pixels_without_the_normalization(tmp_path):
    mean, std = (0.2, 0.4, 0.6), (0.1, 0.2, 0.3)
    color = torch.tensor([0.9, 0.1, 0.3])
    normalized = (color - torch.tensor(mean)) / torch.tensor(std)
    images = normalized.view(1, 3, 1, 1).expand(8, 3, 16, 16)
    inputs, targets = Rotate((0, 90))(images)
    rows = by_angle(inputs, targets, (0, 90))
    image = pixels(draw_pretext_batch(rows, mean, std, tmp_path / "batch.png"))
    shown = is_near(image, (230, 26, 77), tolerance=3).mean()
    assert shown > 0.4


def test_a_pretext_batch_may_have_an_empty_row(tmp_path):
    inputs, targets = Rotate((0, 90))(torch.rand(3, 1, 8, 8))
    first = targets == 0
    rows = by_angle(inputs[first], targets[first], (0, 90))
    pixels(draw_pretext_batch(rows, (0.5,), (0.2,), tmp_path / "b.png"))


@pytest.mark.parametrize("epochs", [1, 2, 30])
@pytest.mark.parametrize("splits", [("train", "test"), ("train", "val", "test")])
def test_curves_draw_a_line_for_every_split(tmp_path, epochs, splits):
    history = [
        {f"{split}_{what}": 0.2 + 0.3 * place + 0.01 * epoch
         for place, split in enumerate(splits) for what in ("loss", "acc")}
        for epoch in range(epochs)
    ]  # fmt: skip
    image = pixels(draw_curves(history, "a title", tmp_path / "curves.png"))
    colors = {"train": (0, 114, 178), "val": (0, 158, 115), "test": (213, 94, 0)}
    for split, color in colors.items():
        assert is_near(image, color).any() == (split in splits), split


def test_a_confusion_matrix_is_dark_where_the_predictions_are(tmp_path):
    targets = torch.arange(4).repeat_interleave(25)
    right = draw_confusion_matrix(targets, targets, "abcd", "right", tmp_path / "right.png")
    wrong = draw_confusion_matrix(targets.flip(0), targets, "abcd", "wrong", tmp_path / "wrong.png")

    def corners(path):
        dark = is_near(pixels(path), (8, 48, 107))
        rows, columns = np.nonzero(dark)
        dark = dark[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        size = len(dark) // 8
        return dark[:size, :size].mean(), dark[:size, -size:].mean()

    assert corners(right)[0] > 0.9 > 0.1 > corners(right)[1]
    assert corners(wrong)[0] < 0.1 < 0.9 < corners(wrong)[1]


def test_a_row_of_the_confusion_matrix_is_a_true_class(tmp_path):
    targets, predictions = torch.tensor([0, 1, 2]), torch.tensor([2, 1, 2])
    path = draw_confusion_matrix(
        predictions, targets, "abc", "first predicted as last", tmp_path / "m.png"
    )
    rows, columns = np.nonzero(is_near(pixels(path), (8, 48, 107)))
    # Dark are (0, 2), (1, 1) and (2, 2): nothing in the first column.
    height, width = rows.max() - rows.min(), columns.max() - columns.min()
    assert height / width == pytest.approx(3 / 2, rel=0.1)


def test_a_class_without_test_images_does_not_divide_by_zero(tmp_path):
    targets, predictions = torch.tensor([0, 0, 1]), torch.tensor([0, 2, 1])
    with np.errstate(all="raise"):
        pixels(draw_confusion_matrix(predictions, targets, "abc", "t", tmp_path / "m.png"))


def test_a_thousand_classes_fit_on_a_page(tmp_path):
    classes = [f"class number {i}" for i in range(1000)]
    targets = torch.arange(1000)
    image = pixels(draw_confusion_matrix(targets, targets, classes, "many", tmp_path / "m.png"))
    assert max(image.shape) < 2500


@pytest.mark.parametrize("channels", [2, 4, 6])
def test_a_pretext_batch_draws_any_number_of_channels(tmp_path, channels):
    values = torch.tensor([0.9, 0.1, 0.3, 0.5, 0.5, 0.5])[:channels]
    inputs, targets = Rotate((0, 90))(values.view(1, channels, 1, 1).expand(8, channels, 16, 16))
    mean, std = (0.0,) * channels, (1.0,) * channels
    rows = by_angle(inputs, targets, (0, 90))
    image = pixels(draw_pretext_batch(rows, mean, std, tmp_path / "batch.png"))
    # The first three as red, green and blue; with fewer than three, the first in gray.
    color = (230, 230, 230) if channels < 3 else (230, 26, 77)
    assert is_near(image, color, tolerance=3).mean() > 0.4


@pytest.mark.parametrize("name", ["$5_$10", r"$\frac$", "$", "$x^2$", r"50\%"])
def test_text_is_never_parsed_as_math(tmp_path, monkeypatch, name):
    drawn = []
    original = Text.draw

    def draw(text, renderer):
        drawn.append((text.get_text(), text.get_parse_math()))
        original(text, renderer)

    monkeypatch.setattr(Text, "draw", draw)
    targets = torch.arange(2)
    pixels(draw_confusion_matrix(targets, targets, [name, "other"], name, tmp_path / "m.png"))
    history = [{"train_loss": 1.0, "train_acc": 0.5}]
    pixels(draw_curves(history, name, tmp_path / "curves.png"))
    assert {text for text, _ in drawn} >= {name, "other", "predicted", "true", "epoch", "train"}
    assert not any(is_math for _, is_math in drawn)


@pytest.mark.parametrize(
    ("broken", "file"),
    [
        ("draw_curves", "curves.png"),
        ("draw_pretext_batch", "pretext_batch.png"),
        ("draw_confusion_matrix", "confusion_matrix.png"),
    ],
)
def test_a_figure_that_cannot_be_drawn_is_only_a_warning(
    run_job, monkeypatch, caplog, tmp_path, broken, file
):
    def fail(*args):
        args[-1].parent.mkdir(exist_ok=True)
        args[-1].write_bytes(b"half a figure")
        raise ValueError("cannot draw this")

    monkeypatch.setattr(figures, broken, fail)
    ran = run_job(tmp_path, "+experiment=rotation")
    assert {phase: run.info.status for phase, run in ran.runs.items()} == {
        "pretext": "FINISHED",
        "downstream": "FINISHED",
    }
    warnings = [record.getMessage() for record in caplog.records if file in record.getMessage()]
    assert len(warnings) == (2 if broken == "draw_curves" else 1)  # both phases have curves
    for warning in warnings:
        assert warning.endswith(f"{file} could not be drawn: ValueError: cannot draw this")
    own = {"pretext": "pretext_batch.png", "downstream": "confusion_matrix.png"}
    for phase, run in ran.runs.items():
        assert ran.weights(phase)
        listed = ran.client.list_artifacts(run.info.run_id, "figures")
        expected = {"curves.png", own[phase]} - {file}
        assert {artifact.path for artifact in listed} == {f"figures/{name}" for name in expected}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], {"curves.png", "confusion_matrix.png"}),
        (["figures=false"], set()),
        (["--multirun"], set()),
        (["--multirun", "figures=true"], {"curves.png", "confusion_matrix.png"}),
    ],
)
def test_figures_are_drawn_where_somebody_looks(
    call_main, make_store, tmp_path, arguments, expected
):
    uri = make_store(tmp_path)
    tiny = ("dataset.image_size=8", "dataset.train_size=32", "dataset.labels_per_class=2")
    tiny += ("model.widths=[4]", "model.blocks=[1]", "schedule.epochs=1", "hydra/launcher=basic")
    flags = [argument for argument in arguments if argument.startswith("--")]
    overrides = [argument for argument in arguments if not argument.startswith("--")]
    status, output = call_main(*flags, "+experiment=supervised", *tiny, *overrides)
    assert status == 0, output
    assert {path.name for path in tmp_path.glob("*/*/*/**/figures/*.png")} == expected
    client = mlflow.MlflowClient(uri)
    (experiment,) = [e for e in client.search_experiments() if e.name == "ssl_rot"]
    (run,) = client.search_runs([experiment.experiment_id], "tags.`ssl_rot.phase` = 'downstream'")
    sent = {path.path for path in client.list_artifacts(run.info.run_id, "figures")}
    assert sent == {f"figures/{name}" for name in expected}
    assert run.info.status == "FINISHED"
