"""Decoding a folder of JPEGs into the cache, and a second start with the cache in place.

    python benchmarks/image_folder.py                  five minutes; makes 100,000 JPEGs
    python benchmarks/image_folder.py PICTURES         PICTURES/<class>/*.jpg, at 32x32

Measured at 32x32 pixels, where decoding costs hardly more than opening a file, and at 128x128.
Three sides alternate: Pillow in one thread, the first start with a folder, and the second start.
Each start ends when the images are ready for training. Files are in the system's cache. Prints each
side's median with the smallest and the largest, and writes benchmarks/image_folder.json.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from _common import conclude, in_turns
from PIL import Image

from ssl_rot.data import image_folder
from ssl_rot.data.images import resize

SIZES = (32, 128)
CLASSES = 10


def make_jpegs(root: Path, count: int, size: int) -> None:
    """Smooth random images, whose JPEG files are as large as those of photographs."""
    root.mkdir()
    draws = torch.Generator().manual_seed(0)
    coarse = torch.randint(
        0, 256, (count, 3, size // 4, size // 4), dtype=torch.uint8, generator=draws
    )
    for number, image in enumerate(resize(coarse, size).permute(0, 2, 3, 1).numpy()):
        folder = root / str(number % CLASSES)
        folder.mkdir(exist_ok=True)
        Image.fromarray(image).save(folder / f"{number:06}.jpg", quality=90)


def with_pillow(root: Path, size: int) -> float:
    """Seconds that a plain loop over all files takes."""
    began = time.perf_counter()
    images = []
    for path in sorted(root.glob("*/*.jpg")):
        with Image.open(path) as image:
            rgb = image.convert("RGB")
            if rgb.size != (size, size):
                rgb = rgb.resize((size, size))
            images.append(np.asarray(rgb).transpose(2, 0, 1))
    torch.from_numpy(np.stack(images))
    return time.perf_counter() - began


def start(root: Path, size: int, cache: Path, *, first: bool) -> float:
    """Seconds until the images can be trained on."""
    if first:
        shutil.rmtree(cache, ignore_errors=True)
    began = time.perf_counter()
    image_folder(root, size, test_fraction=0.2)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--count", type=int, default=50_000, help="how many JPEGs to make")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    times: dict[str, list[float]] = {}
    goals = {}
    images = args.count
    with tempfile.TemporaryDirectory() as temporary:
        cache = Path(temporary) / "cache"
        os.environ["SSL_ROT_CACHE"] = str(cache)
        for size in SIZES if args.folder is None else SIZES[:1]:
            root = args.folder or Path(temporary) / f"pictures_{size}"
            if args.folder is None:
                make_jpegs(root, args.count, size)
            else:
                images = len(list(root.glob("*/*.jpg")))
            plain, first, second = (
                f"{side}, {size} px" for side in ("Pillow", "first start", "second start")
            )
            times |= in_turns(
                {
                    plain: partial(with_pillow, root, size),
                    first: partial(start, root, size, cache, first=True),
                    second: partial(start, root, size, cache, first=False),
                },
                args.repeats,
            )
            goals |= {(plain, first): "at least 1.7", (second, first): "at most 0.05"}
    conclude(__file__, times, unit="s", goals=goals, images=images, folder=str(args.folder))


if __name__ == "__main__":
    main()
