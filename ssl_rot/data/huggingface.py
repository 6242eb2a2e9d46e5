"""Data sets of the library `datasets`: from the Hugging Face hub, saved to disk, or Parquet."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ssl_rot.data.folder import Listing, decode_listing, encode_labels
from ssl_rot.data.source import Source
from ssl_rot.errors import DataError, as_text, describe_error
from ssl_rot.option_types import ImageSize, OpenFraction, Text

# What save_to_disk leaves in the folder of a single split, or of several.
SAVED = ("state.json", "dataset_dict.json")


def huggingface(
    path: Text,
    image: Text,
    label: Text,
    image_size: ImageSize,
    train_split: Text = "train",
    test_split: Text | None = "test",
    unlabelled: Text | None = None,
    configuration: Text | None = None,
    test_fraction: OpenFraction | None = None,
    skip_bad: bool = False,
) -> Source:
    """Images of a column, decoded once into the image cache.

    The classes are those of a ``ClassLabel``, or the sorted values of the column. Training images
    with label null or -1 are for the pretext task only.

    Args:
        path: a Parquet file, a folder of them, a folder of ``save_to_disk``, or a name on the hub.
        image: the column of encoded images.
        label: the column of their labels.
        image_size: pixels a side, after a square crop at the center.
        test_split: ``None``, with a ``test_fraction``, leaves out a test split of the set's own.
        unlabelled: a split for the pretext task only, whose labels are not read.
        configuration: of a set on the hub that has several.
        test_fraction: of the labeled images of ``train_split``, for the test split, which is
            stratified and the same for every seed; ``None`` for a split of the set's own.
        skip_bad: skip images that cannot be decoded, instead of raising an error.

    Raises:
        DataError: the set cannot be loaded, lacks a split or column, or has bad images.
    """
    where = f"dataset.path={path}"
    splits = _load(where, path, configuration)
    keys = {"train_split": train_split, "unlabelled": unlabelled}
    if test_fraction is None:
        keys["test_split"] = as_text(test_split)
    elif test_split in splits:
        raise DataError(
            f"{where}: has a split {test_split}, so that dataset.test_fraction={test_fraction} "
            f"must be null; or leave that split out with dataset.test_split=null."
        )
    parts = [
        _Part(name, splits[name], image, None if key == "unlabelled" else label)
        for key, name in _check_splits(where, splits, keys).items()
    ]
    for part in parts:
        part.check_columns(where)
    in_test = [part.name == keys.get("test_split") for part in parts for _ in range(len(part))]
    labels = [each for part in parts for each in part.read_labels(where)]
    classes, encoded = encode_labels(where, labels, in_test, parts[0].class_names)
    listing = Listing(
        where=where,
        classes=classes,
        names=[f"{part.name}[{row}]" for part in parts for row in range(len(part))],
        images=_Concatenated(parts),
        labels=encoded,
        in_test=torch.tensor(in_test),
        version=_version(image, [part.split for part in parts]),
    )
    return decode_listing(listing, image_size, test_fraction, skip_bad)


@dataclass(frozen=True)
class _Part:
    """One split: a ``datasets.Dataset``, and its columns; without ``label`` it is unlabeled."""

    name: str
    split: Any
    image: str
    label: str | None

    def __len__(self) -> int:
        return len(self.split)

    @property
    def class_names(self) -> Sequence[str]:
        """Those of a ``ClassLabel``, in its order."""
        return getattr(self.split.features[self.label], "names", ())

    def check_columns(self, where: str) -> None:
        """Refuses columns that do not exist, or that hold something else."""
        import pyarrow as pa

        schema = self.split.features.arrow_schema
        for key, column in (("image", self.image), ("label", self.label)):
            if column is not None and column not in schema.names:
                raise DataError(
                    f"{where}: dataset.{key}={column} is not a column of the split {self.name}, "
                    f"which has: {_list_columns(self.split)}."
                )
        kind = schema.field(self.image).type
        if pa.types.is_struct(kind):
            is_encoded = {"bytes", "path"} <= {field.name for field in kind}
        else:
            is_encoded = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
        if not is_encoded:
            raise DataError(
                f"{where}: dataset.image={self.image} holds no encoded images, but {kind}; the "
                f"columns are: {_list_columns(self.split)}."
            )
        if self.label is not None:
            kind = schema.field(self.label).type
            checks = (pa.types.is_integer, pa.types.is_string, pa.types.is_large_string)
            if not any(check(kind) for check in (*checks, pa.types.is_boolean)):
                raise DataError(
                    f"{where}: dataset.label={self.label} must hold whole numbers or strings, one "
                    f"per image, and holds {kind}; the columns are: {_list_columns(self.split)}."
                )

    def read_labels(self, where: str) -> list[Any]:
        """Class names or values; ``None`` for null and -1."""
        if self.label is None:
            return [None] * len(self)
        table = self.split.select_columns([self.label]).with_format("arrow")[:]
        values = [None if value == -1 else value for value in table[self.label].to_pylist()]
        if not (names := self.class_names):
            return values
        outside = [value for value in values if value is not None and not 0 <= value < len(names)]
        if outside:
            raise DataError(
                f"{where}: label {outside[0]} in the split {self.name} is out of range: column "
                f"{self.label} has {len(names)} class names."
            )
        return [None if value is None else names[value] for value in values]

    def read_images(self, rows: slice) -> list[str | bytes]:
        """The images' content, or the paths of their files."""
        table = self.split.select_columns([self.image]).with_format("arrow")[rows]
        return [_unpack(value) for value in table[self.image].to_pylist()]


def _unpack(value: bytes | Mapping[str, Any] | None) -> str | bytes:
    if isinstance(value, Mapping):
        content: bytes | None = value["bytes"]
        return content if content is not None else value["path"] or b""
    return value or b""  # an empty one is reported by its row


@dataclass(frozen=True)
class _Concatenated:
    """The images of several splits, one after the other, as ``EncodedImages``."""

    parts: Sequence[_Part]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __getitem__(self, rows: slice) -> list[str | bytes]:
        first, last, _ = rows.indices(len(self))
        images = []
        for part in self.parts:
            if first < min(last, len(part)):
                images += part.read_images(slice(first, min(last, len(part))))
            first, last = max(0, first - len(part)), max(0, last - len(part))
        return images


def _load(where: str, path: str, configuration: str | None) -> dict[str, Any]:
    """The splits by their names."""
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise DataError(
            f"dataset=huggingface needs the library datasets, which is not installed ({error}); "
            "run: pip install 'datasets>=4'"
        ) from error
    local = Path(os.path.expanduser(path))
    try:
        if any((local / name).is_file() for name in SAVED):
            loaded = datasets.load_from_disk(str(local), keep_in_memory=False)
        else:
            file = {"path": "parquet", "data_files": str(local)}
            name = {"path": str(local) if local.exists() else path, "name": configuration}
            options = file if local.is_file() else name
            loaded = datasets.load_dataset(**options, keep_in_memory=False)
    except Exception as error:  # the hub, and each kind of file, raise their own
        cause = error.__cause__ or error
        raise DataError(
            f"{where}: cannot be loaded: {describe_error(cause)}. It must be a Parquet file, a "
            "folder of Parquet files or of save_to_disk, or the name of a data set on the hub."
        ) from error
    return dict(loaded) if isinstance(loaded, dict) else {"train": loaded}


def _check_splits(
    where: str, splits: Mapping[str, Any], keys: Mapping[str, str | None]
) -> dict[str, str]:
    """The keys that name a split, with its name."""
    named = {key: name for key, name in keys.items() if name is not None}
    there = "; ".join(f"{name} ({len(split)} images)" for name, split in splits.items())
    for key, name in named.items():
        if name not in splits:
            hint = ", or dataset.test_fraction=0.2, say" if key == "test_split" else ""
            columns = _list_columns(next(iter(splits.values())))
            raise DataError(
                f"{where}: dataset.{key}={name} is not one of its splits: {there}. Set it to one "
                f"of them{hint}. Columns: {columns}."
            )
    if len(set(named.values())) < len(named):
        used = ", ".join(f"dataset.{key}={name}" for key, name in named.items())
        raise DataError(f"{where}: {used}: each needs a split of its own, of: {there}.")
    return named


def _list_columns(split: Any) -> str:
    """``image (Image), label (ClassLabel)``."""
    kinds = {
        name: getattr(feature, "dtype", None) if type(feature).__name__ == "Value" else None
        for name, feature in split.features.items()
    }
    return ", ".join(
        f"{name} ({kind or type(split.features[name]).__name__})" for name, kind in kinds.items()
    )


def _version(image: str, splits: Sequence[Any]) -> str:
    """A hash of the files that hold the images: Arrow, written once by the library."""
    files = [file["filename"] for split in splits for file in split.cache_files]
    status = [(file, os.stat(file).st_size, os.stat(file).st_mtime_ns) for file in files]
    return hashlib.sha256(repr((image, status)).encode()).hexdigest()
