"""Counts the test images that are also in the training set, pixel for pixel.

    python scripts/duplicates.py dataset=image_folder dataset.root=cifar10

Takes the same overrides as a run.
"""

from __future__ import annotations

import sys
from collections import Counter

from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from ssl_rot.config.paths import CHECKOUT_CONF
from ssl_rot.data import Images


def pixels(images: Images) -> list[bytes]:
    """The pixels of each image."""
    return [image.numpy().tobytes() for image in images[:]]


def main() -> None:
    with initialize_config_dir(str(CHECKOUT_CONF), version_base="1.3"):
        source = instantiate(compose("config", sys.argv[1:]).dataset.source)
    train, test = pixels(source.train.images), Counter(pixels(source.test.images))
    seen = set(train)
    print(f"training images                  {len(train):>8,}")
    print(f"  copies of another one          {len(train) - len(seen):>8,}")
    print(f"test images                      {test.total():>8,}")
    print(f"  copies of another one          {test.total() - len(test):>8,}")
    leaked = sum(count for image, count in test.items() if image in seen)
    print(f"  also among the training images {leaked:>8,}")


if __name__ == "__main__":
    main()
