"""The real photographs: where SSL_ROT_CIFAR10 says, or in ~/data/cifar10."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

ROOT = Path(os.environ.get("SSL_ROT_CIFAR10", "~/data/cifar10")).expanduser()


@pytest.mark.slow
@pytest.mark.skipif(
    not (ROOT / "train").is_dir() or not (ROOT / "test").is_dir(),
    reason=f"no image folder of CIFAR-10 at {ROOT} (SSL_ROT_CIFAR10 says where it is)",
)
def test_one_epoch_of_resnet18_on_real_photographs(run_job, tmp_path):
    root = tmp_path / "some"  # all 60,000 would take a minute to decode and to test on
    for split, count in (("train", 60), ("test", 20)):
        for source in sorted(path for path in (ROOT / split).iterdir() if path.is_dir()):
            folder = root / split / source.name
            folder.mkdir(parents=True)
            for image in sorted(source.iterdir())[:count]:
                (folder / image.name).symlink_to(image)
    ran = run_job(
        tmp_path,
        *("+experiment=rotation", "dataset=image_folder", f"dataset.root={root}"),
        *("dataset.image_size=32", "dataset.train_size=500", "dataset.labels_per_class=20"),
        *("model=resnet18", "schedule.epochs=1", "precision=auto", "schedule.batch_size=50"),
        *("schedule=constant", "schedule.lr=0.02", "pretext.schedule.lr=0.02"),
    )
    for phase, count in (("pretext", 4 * 500), ("downstream", 200)):
        (row,) = ran.history(phase)
        assert row["images_processed"] == count
        assert all(math.isfinite(value) for value in row.values())
    # Chance is a tenth; one epoch on 200 labels shows that labels and images belong together.
    assert ran.history("downstream")[-1]["train_acc"] > 0.1
