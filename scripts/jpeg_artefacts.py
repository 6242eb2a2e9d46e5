"""Tests whether a pre-trained network infers the rotation from JPEG artifacts, not the image.

    python scripts/jpeg_artefacts.py outputs/2026-05-31/18-00-00/pretext

A network trained on images that were JPEG files before they were rotated could have learned the
orientation of the 8x8 blocks and of the coarser horizontal and vertical detail. So the test images
are rotated first and encoded afterwards, which leaves the artifacts upright in all of them. The
control is encoded first and rotated afterwards: it loses as much detail, and its artifacts rotate
with the image.
"""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from ssl_rot.models import Classifier, build_backbone, linear_head
from ssl_rot.pretext import Rotate


def encoded(images: Tensor, quality: int) -> Tensor:
    """Images, uint8 ``[N, C, H, W]``, after JPEG compression and decompression."""
    result = torch.empty_like(images)
    for row, image in enumerate(images):
        file = io.BytesIO()
        array = image.permute(1, 2, 0).numpy().squeeze()
        Image.fromarray(array).save(file, "JPEG", quality=quality)
        again = torch.from_numpy(np.array(Image.open(file)))
        result[row] = again.permute(2, 0, 1) if again.ndim == 3 else again
    return result


def rotated(images: Tensor, rotate: Rotate) -> tuple[Tensor, Tensor]:
    """All rotations of uint8 images, as the network was trained on them, and their targets."""
    views, targets = rotate(images.float())
    return views.round().to(torch.uint8), targets


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "folder", type=Path, help="of a pretext phase, with config.yaml and weights"
    )
    parser.add_argument("--quality", type=int, default=75)
    parser.add_argument(
        "--images", type=int, default=10_000, help="at most this many of the test set"
    )
    arguments = parser.parse_args()
    config = OmegaConf.load(arguments.folder / "config.yaml")
    data = instantiate(config.dataset, seed=config.seed)
    rotate = Rotate(config.pretext.angles)
    images = data.test.images[torch.arange(min(arguments.images, len(data.test)))]
    backbone = build_backbone(config.model, in_channels=images.shape[1], seed=config.seed)
    model = Classifier(backbone, linear_head(backbone.out_channels, len(rotate.angles)))
    model.load_state_dict(load_file(arguments.folder / "weights.safetensors"))
    model.eval()
    mean, std = (torch.tensor(values)[:, None, None] for values in (data.mean, data.std))

    def accuracy(views: Tensor, targets: Tensor) -> float:
        hits = 0
        with torch.inference_mode():
            for some, goals in zip(views.split(256), targets.split(256), strict=True):
                logits = model((some.float() / 255 - mean) / std)
                hits += int((logits.argmax(1) == goals).sum())
        return hits / len(targets)

    views, targets = rotated(images, rotate)
    figures = {
        "rotated": accuracy(views, targets),
        "encoded, then rotated": accuracy(*rotated(encoded(images, arguments.quality), rotate)),
        "rotated, then encoded": accuracy(encoded(views, arguments.quality), targets),
    }
    print(json.dumps({"images": len(images), "quality": arguments.quality} | figures, indent=1))


if __name__ == "__main__":
    main()
