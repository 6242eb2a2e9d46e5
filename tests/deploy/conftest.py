"""A run on a small folder of photographs, for the commands that take a finished run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def photographs(tmp_path_factory) -> Path:
    """``train/`` and ``test/`` with two classes of colored noise, of several sizes and kinds."""
    root = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for number in range(24):
        split, label = ("train", "test")[number % 2], ("red", "blue")[number // 12]
        folder = root / split / label
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (20 + number, 40, 3), dtype=np.uint8)
        pixels[..., (0, 2)[number // 12]] //= 3
        Image.fromarray(pixels).save(folder / f"{number}.{('png', 'jpg', 'webp')[number % 3]}")
    return root


@pytest.fixture(scope="session")
def photograph_run(run_job, photographs, tmp_path_factory):
    """A supervised-only run on them, at 16 pixels a side, in float32."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_ROT_CACHE", str(tmp_path_factory.mktemp("cache")))
        return run_job(
            tmp_path_factory.mktemp("photograph_run"),
            *("dataset=image_folder", f"dataset.root={photographs}", "dataset.image_size=16"),
            *("dataset.train_size=null", "dataset.augment.crop_padding=0", "device=cpu"),
        )
