"""What a logged model runs: from pixels, files, or base64 to class probabilities.

A logged model carries a copy of this file, so that a server needs torch, pandas and Pillow, but
not ssl_rot. The weights file has no pickle in it, and is not opened unless it is the one that was
logged, byte for byte.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image

from ssl_rot.data.folder.pixels import square_pixels

FACTS = "classifier.json"  # beside the weights: classes, image size, channels, their hash
GRAPH = "model.pt2"

BATCH = 256
"""Images at a time, as in a run's own evaluation: memory is bounded, and the bits are the same."""

# MLflow's server sets it for its processes.
_IS_SERVED = "__pyfunc_model_path__" in os.environ


class ServedClassifier:
    """The model that ``mlflow.pyfunc`` loads.

    Args:
        folder: holds :data:`GRAPH` and :data:`FACTS`.

    Raises:
        ValueError: the graph is damaged, or another file.
    """

    def __init__(self, folder: Path) -> None:
        facts = json.loads((folder / FACTS).read_bytes())
        self.classes: list[str] = facts["classes"]
        self.image_size, self.channels = int(facts["image_size"]), int(facts["channels"])
        content = (folder / GRAPH).read_bytes()
        if hashlib.sha256(content).hexdigest() != facts["sha256"]:
            # Reading it would already run what a hostile file holds.
            raise ValueError(f"{folder / GRAPH} is damaged, or not the file that was logged")
        self.graph = torch.export.load(io.BytesIO(content)).module()

    def predict(self, data: Any, params: dict[str, Any] | None = None) -> Any:
        """The class probabilities of images.

        Args:
            data: uint8 ``[N, H, W, C]``, as an array or (from JSON) as lists; or a frame with a
                column ``path`` of image files, or ``image`` of their bytes or base64; or a list of
                base64 strings. Frames and lists give a frame with a column per class.
            params: none are known.
        """
        if isinstance(data, np.ndarray):
            return self._classify(data)
        if isinstance(data, pd.DataFrame):
            return self._name(self._classify(self._read_frame(data)), data.index)
        if not isinstance(data, list) or not data:
            raise ValueError("give an array, a data frame, or a list that is not empty")
        if isinstance(data[0], str):
            images = np.stack([self._decode(text) for text in data])
        else:
            images = np.asarray(data)
        return self._name(self._classify(images), None)

    def _name(self, probabilities: NDArray[np.float32], index: pd.Index | None) -> pd.DataFrame:
        return pd.DataFrame(probabilities, index=index, columns=self.classes)

    def _classify(self, images: NDArray[Any]) -> NDArray[np.float32]:
        if images.dtype != np.uint8:
            if images.dtype.kind not in "iu" or images.min() < 0 or images.max() > 255:
                raise ValueError("pixels must be whole numbers from 0 to 255")
            images = images.astype(np.uint8)
        if images.ndim != 4 or images.shape[3] != self.channels or min(images.shape[1:3]) < 2:
            raise ValueError(
                f"images must be [N, height, width, {self.channels}], of two pixels a side or "
                f"more, not {list(images.shape)}"
            )
        with torch.inference_mode():
            parts = torch.split(torch.from_numpy(np.ascontiguousarray(images)), BATCH)
            return torch.cat([self.graph(part) for part in parts]).numpy()

    def _read_frame(self, frame: pd.DataFrame) -> NDArray[np.uint8]:
        if "image" in frame:
            return np.stack([self._decode(each) for each in frame["image"]])
        if "path" not in frame:
            raise ValueError("a data frame needs a column path, or image (bytes or base64)")
        if _IS_SERVED:
            raise ValueError("a server reads none of its own files; send images as base64")
        return np.stack([self._read(path) for path in frame["path"]])

    def _read(self, path: str) -> NDArray[np.uint8]:
        if not os.path.isfile(path):  # opening a pipe or a socket could block forever
            raise ValueError(f"{path} is not a file")
        try:
            return self._open(path)
        except Exception as error:
            raise ValueError(f"{path}: {error}") from error

    def _decode(self, content: bytes | str) -> NDArray[np.uint8]:
        if isinstance(content, str):
            try:
                content = base64.b64decode(content, validate=True)
            except ValueError:
                raise ValueError("a string that is not the base64 of an image file") from None
        return self._open(io.BytesIO(content))

    def _open(self, file: str | io.BytesIO) -> NDArray[np.uint8]:
        """``[size, size, C]``, decoded as the run decoded its image folder."""
        with Image.open(file) as image:
            most = Image.MAX_IMAGE_PIXELS
            if most is not None and image.width * image.height > most:
                raise ValueError(f"{image.width}x{image.height} pixels are too many")
            pixels = square_pixels(image, self.image_size).transpose(1, 2, 0)
        if self.channels == 1:
            return np.asarray(Image.fromarray(pixels).convert("L"))[:, :, None]
        if self.channels != 3:
            raise ValueError(f"it has 3 channels, and this model wants {self.channels}")
        return pixels


def _load_pyfunc(path: str, model_config: dict[str, Any] | None = None) -> ServedClassifier:
    """What MLflow calls, with the folder of the model's data."""
    return ServedClassifier(Path(path))
