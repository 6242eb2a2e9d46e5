"""The floors agree with scikit-learn, whatever the size of chunks and images."""

from __future__ import annotations

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from torch.nn.functional import avg_pool2d

from ssl_rot.data import Augment, Images, Split, digits, prepare
from ssl_rot.training import pixel_baselines
from ssl_rot.training.pixel_baselines import measure_floors

CPU = torch.device("cpu")


def of_scikit_learn(train: Split, test: Split) -> tuple[float, float]:
    inputs, others = (split.images[:].double().flatten(1).numpy() for split in (train, test))
    nearest = KNeighborsClassifier(1).fit(inputs, train.labels)
    center = inputs.mean(0)
    scale = (inputs - center).std(ddof=1)
    linear = LogisticRegression(max_iter=1000).fit((inputs - center) / scale, train.labels)
    return (
        nearest.score(others, test.labels),
        linear.score((others - center) / scale, test.labels),
    )


@pytest.mark.parametrize("budget", [1, 5])
@pytest.mark.parametrize("chunk", [7, 4096])
def test_both_methods_agree_with_scikit_learn(monkeypatch, budget, chunk):
    monkeypatch.setattr(pixel_baselines, "_CHUNK", chunk)
    data = prepare(
        name="digits", source=digits(8), seed=0, labels_per_class=budget, val_fraction=0.0,
        train_size=None, mean=None, std=None, augment=Augment(0, flip=False),
    )  # fmt: skip
    knn_acc, linear_acc = of_scikit_learn(data.train, data.test)
    found = measure_floors(data.train, data.test, 10, CPU)
    assert found["knn_acc"] == knn_acc
    assert found["linear_acc"] == pytest.approx(linear_acc, abs=1 / 360)  # float32
    assert (found["images"], found["image_side"]) == (10 * budget, 8)
    assert 0.5 < linear_acc < knn_acc  # raw pixels are no joke


@pytest.fixture
def blobs():
    """Two splits of color images, 64 pixels a side, in three classes of their own mean."""

    def make(count: int, seed: int) -> Split:
        noise = torch.Generator().manual_seed(seed)
        labels = torch.arange(count) % 3
        images = torch.randint(0, 120, (count, 3, 64, 64), generator=noise)
        images[torch.arange(count), labels] += 100
        return Split(Images(images.to(torch.uint8)), labels)

    return make(30, 0), make(20, 1)


def test_large_images_are_averaged_down(blobs):
    train, test = blobs
    large = measure_floors(train, test, 3, CPU)
    means = [Split(Images(avg_pool2d(s.images[:].float(), 2).round().to(torch.uint8)), s.labels)
             for s in blobs]  # fmt: skip
    assert large == measure_floors(*means, 3, CPU)
    assert large["image_side"] == 32
    assert large["knn_acc"] == large["linear_acc"] == 1


def test_of_many_images_some_are_drawn(blobs, monkeypatch):
    monkeypatch.setattr(pixel_baselines, "MAX_IMAGES", 21)
    found = measure_floors(*blobs, 3, CPU)
    assert found["images"] == 21
    assert found["knn_acc"] == 1


def test_images_that_are_all_equal_have_floors_too(blobs):
    train, test = (Split(Images(torch.zeros_like(s.images[:])), s.labels) for s in blobs)
    assert measure_floors(train, test, 3, CPU)["linear_acc"] == pytest.approx(1 / 3, abs=0.05)
