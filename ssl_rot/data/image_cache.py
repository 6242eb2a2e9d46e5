"""Decoded image files in one memory-mapped array, built once."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch.utils.data import DataLoader
from tqdm import tqdm

from ssl_rot.data.decode import Bad, Chunks
from ssl_rot.data.mapped import MappedFile
from ssl_rot.data.types import fingerprint
from ssl_rot.errors import DataError

log = logging.getLogger(__name__)

# Part of the key: raise it when the same files would give other bytes.
FORMAT = 3
# Large enough that telling of a chunk costs nothing, small enough for a smooth progress bar.
CHUNK_BYTES = 2**20
IMAGES = "images.npy"


def cache_dir() -> Path:
    """``$SSL_ROT_CACHE``, else ``ssl_rot`` in the user's cache directory."""
    if own := os.environ.get("SSL_ROT_CACHE"):
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "ssl_rot"


def cached_images(
    root: Path, paths: Sequence[str], version: object, image_size: int
) -> tuple[MappedFile, list[Bad], str]:
    """The images of these files, decoded now or taken from the cache.

    Two processes that want the same images at once decode them once, and nothing half-written is
    ever used.

    Args:
        root: what the paths are relative to.
        paths: of the files, in the order of the rows.
        version: changes with the files' content; a part of the cache's key, as its ``repr``.
        image_size: pixels a side.

    Returns:
        uint8 ``[N, 3, image_size, image_size]``, memory-mapped, the files that gave no image (their
        rows are black), and a hash that changes with any pixel.

    Raises:
        DataError: the cache cannot be written.
    """
    key = fingerprint(FORMAT, image_size, paths, version)
    folder = cache_dir() / "images" / key
    shape = (len(paths), 3, image_size, image_size)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            found = _load(folder, shape)
            if found is None:
                log.info("Decoding %d images of %s into %s", len(paths), root, folder)
                bad, pixels = _build(folder, [str(root / path) for path in paths], shape)
                found = MappedFile(folder / IMAGES), bad, pixels
    except OSError as error:
        need = np.prod(shape, dtype=np.int64) / 2**20
        raise DataError(
            f"The image cache {folder} cannot be written ({error.strerror or error}). It needs "
            f"{need:.0f} MiB; set SSL_ROT_CACHE to a directory that has the room."
        ) from error
    return found


def kept(name: str, compute: Callable[[], Any]) -> Any:
    """What ``compute`` gives, from the cache if an earlier process left it there.

    Args:
        name: changes with all that the result depends on.
        compute: gives what JSON can hold.
    """
    path = cache_dir() / "results" / f"{name}-{FORMAT}.json"
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        result = compute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(result))
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        log.warning("%s cannot be written, and is computed at every start: %s", path, error)
    return result


def _load(folder: Path, shape: tuple[int, ...]) -> tuple[MappedFile, list[Bad], str] | None:
    """What an earlier process left, or ``None`` when it is missing, damaged or to be retried."""
    try:
        file = MappedFile(folder / IMAGES)
        about = json.loads((folder / "about.json").read_text())
        bad = [Bad(**entry) for entry in about["bad"]]
        pixels = str(about["pixels"])
    except (OSError, ValueError, TypeError, EOFError, KeyError):
        return None
    images = file.tensor
    if images.shape != shape or images.dtype != torch.uint8 or any(b.unreadable for b in bad):
        return None
    return file, bad, pixels


def _build(folder: Path, paths: Sequence[str], shape: tuple[int, ...]) -> tuple[list[Bad], str]:
    """Decodes everything into a directory beside ``folder``, then renames it."""
    for left in folder.parent.glob(f"{folder.name}.*.partial"):  # by a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    # A name of its own, since workers of a killed process may write for some seconds more.
    partial = folder.with_suffix(f".{os.getpid()}.partial")
    try:
        partial.mkdir()
        bad, pixels = _decode_all(partial / IMAGES, paths, shape)
        about = {"bad": [dataclasses.asdict(entry) for entry in bad], "pixels": pixels}
        (partial / "about.json").write_text(json.dumps(about))
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return bad, pixels


def _decode_all(
    target: Path, paths: Sequence[str], shape: tuple[int, ...]
) -> tuple[list[Bad], str]:
    length = max(1, min(256, CHUNK_BYTES // int(np.prod(shape[1:]))))
    with target.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        first = file.tell()
    chunks = Chunks(paths, shape[-1], length, target, first)
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    workers = min(cores, len(chunks)) if len(chunks) > 2 else 0
    # Processes, since for small images most of the work holds the interpreter's lock. Forked ones
    # start at once and, unlike spawned ones, from any script; they touch neither torch nor a GPU.
    context = "fork" if workers and sys.platform == "linux" else None
    loader: DataLoader[Any] = DataLoader(
        chunks,  # type: ignore[arg-type]  # has the two methods that are used
        batch_size=None,
        num_workers=workers,
        multiprocessing_context=context,
        generator=torch.Generator(),  # else it draws from the global stream, in a first start only
    )
    bad: list[Bad] = []
    pixels = hashlib.sha256()
    with tqdm(total=len(paths), desc="decoding", unit="image", disable=None) as progress:
        for chunk in loader:  # in order
            if chunk.error is not None:
                raise chunk.error
            pixels.update(chunk.pixels)
            bad += chunk.bad
            progress.update(chunk.images)
    with target.open("r+b") as file:
        os.fsync(file.fileno())
    return bad, pixels.hexdigest()
