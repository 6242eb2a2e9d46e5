"""Writes CIFAR-10 as a folder of JPEG files, for the figures named "CIFAR-10 (JPEG)".

    python scripts/cifar10_jpeg.py photographs                         60,000 files, 250 MB of disk
    python scripts/cifar10_jpeg.py article --test-per-class 200        a test set for two cores

Downloads CIFAR-10 into data/ if it is missing, and writes <folder>/{train,test}/<class>/NNNN.jpg
at quality 75 with 4:2:0 chroma subsampling, in the original order. The files behind the figures
were produced in the same way by others, so single pixels may differ.
"""

from __future__ import annotations

import argparse
import sys
from itertools import islice
from pathlib import Path

import torch
from PIL import Image
from tqdm import tqdm

from ssl_rot.data import Split, cifar10
from ssl_rot.errors import DataError


def write(split: Split, classes: tuple[str, ...], folder: Path, most: int | None) -> None:
    for number, name in enumerate(tqdm(classes, desc=str(folder), unit="class", disable=None)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        rows = torch.nonzero(split.labels == number).flatten()
        for i, row in enumerate(islice(rows, most)):
            pixels = split.images[row[None]][0].permute(1, 2, 0).numpy()
            path = folder / name / f"{i:04}.jpg"
            Image.fromarray(pixels).save(path, quality=75, subsampling="4:2:0")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--data", type=Path, default="data", help="where CIFAR-10 is, or is downloaded to"
    )
    parser.add_argument(
        "--test-per-class", type=int, metavar="N", help="keep the first N test images of each class"
    )
    arguments = parser.parse_args()
    try:
        source = cifar10(arguments.data, 32)
    except DataError as error:
        sys.exit(str(error))
    write(source.train, source.classes, arguments.folder / "train", None)
    write(source.test, source.classes, arguments.folder / "test", arguments.test_per_class)


if __name__ == "__main__":
    main()
