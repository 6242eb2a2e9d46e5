"""Small data sets in which every image can be identified."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_rot.data import Augment, Dataset, Images, Source, Split, prepare


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Gives each test a cache of its own, separate from the user's."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("SSL_ROT_CACHE", str(cache))
    return cache


@pytest.fixture
def numbered() -> Callable[[int], torch.Tensor]:
    """Images uint8 ``[n, 1, 1, 2]`` whose two pixels hold the image's number."""

    def make(count: int, first: int = 0) -> torch.Tensor:
        number = torch.arange(first, first + count)
        return torch.stack([number // 256, number % 256], 1).to(torch.uint8)[:, None, None]

    return make


@pytest.fixture
def numbers_of() -> Callable[[Images], list[int]]:
    """The numbers of :func:`numbered` images."""

    def read(images: Images) -> list[int]:
        high, low = images[:].long().flatten(1).unbind(1)
        return (high * 256 + low).tolist()

    return read


@pytest.fixture
def make_source(numbered) -> Callable[[Sequence[int]], Source]:
    """A source with these training labels and 10 test images, numbered from 60,000."""

    def make(labels: Sequence[int]) -> Source:
        classes = tuple(f"class {label}" for label in range(max(labels) + 1))
        train = Split(Images(numbered(len(labels))), torch.tensor(labels))
        test = Split(Images(numbered(10, first=60_000)), torch.arange(10) % len(classes))
        return Source(train=train, test=test, classes=classes, fingerprint="x")

    return make


@pytest.fixture
def prepared(make_source) -> Callable[..., Dataset]:
    """``prepare`` with defaults for everything but the training labels."""

    def make(labels: Sequence[int], **changes) -> Dataset:
        options = {
            "name": "numbered",
            "source": make_source(labels),
            "seed": 0,
            "labels_per_class": None,
            "val_fraction": 0.0,
            "train_size": None,
            "mean": None,
            "std": None,
            "augment": Augment(crop_padding=0, flip=False),
        }
        return prepare(**(options | changes))

    return make


@pytest.fixture
def write_images() -> Callable[..., None]:
    """Writes ``count`` different small PNGs into a folder."""

    def write(folder: Path, count: int, size: tuple[int, int] = (8, 8), seed: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng([seed, *folder.name.encode()])
        for i in range(count):
            pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.png")

    return write


@pytest.fixture
def two_trees(tmp_path: Path, write_images) -> Path:
    """A root with train and test folders: 5 and 2 images each of cat and dog."""
    root = tmp_path / "pictures"
    for name in ("cat", "dog"):
        write_images(root / "train" / name, 5)
        write_images(root / "test" / name, 2, seed=1)
    return root
