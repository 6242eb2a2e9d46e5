"""Decoded image files in one memory-mapped array, built once."""

from __future__ import annotations

import ctypes
import hashlib
import json
import logging
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from torch.utils.data import DataLoader
from tqdm import tqdm

from ssl_rot.data.folder.decoding import Bad, Chunks
from ssl_rot.data.mapped import MappedFile
from ssl_rot.data.types import fingerprint
from ssl_rot.errors import DataError

log = logging.getLogger(__name__)

# Part of the key: raise it when the same files would give other bytes.
FORMAT = 4
# Large enough that telling of a chunk costs nothing, small enough for a smooth progress bar.
CHUNK_BYTES = 2**20
IMAGES = "images.npy"
SUMS = "sums.npy"
ABOUT = "about.json"
PR_SET_PDEATHSIG = 1  # of linux/prctl.h


def cache_dir() -> Path:
    """``$SSL_ROT_CACHE``, else ``ssl_rot`` in the user's cache directory."""
    if own := os.environ.get("SSL_ROT_CACHE"):
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "ssl_rot"


@dataclass(frozen=True)
class CachedImages:
    """The decoded images of some files.

    Args:
        file: uint8 ``[N, 3, image_size, image_size]``.
        sums: int64 ``[N, 3, 2]``, of every image's channels.
        bad: the files that gave no image; their rows are black.
        pixels: a hash that changes with any pixel.
    """

    file: MappedFile
    sums: NDArray[np.int64]
    bad: list[Bad]
    pixels: str


def cached_images(root: Path, paths: Sequence[str], version: str, image_size: int) -> CachedImages:
    """The images of these files, decoded now or taken from the cache.

    Two processes that want the same images at once decode them once, and nothing half-written is
    ever used.

    Args:
        root: what the paths are relative to.
        paths: of the files, in the order of the rows.
        version: changes with the files' content.
        image_size: pixels a side.

    Raises:
        DataError: the cache cannot be written.
    """
    # Joined by what no path holds: the text of a tuple of a million paths takes far longer.
    key = fingerprint(FORMAT, image_size, "\0".join(paths), version)
    folder = cache_dir() / "images" / key
    shape = (len(paths), 3, image_size, image_size)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            found = _load(folder, shape)
            if found is None:
                log.info("Decoding %d images of %s into %s", len(paths), root, folder)
                _build(folder, [f"{root}/{path}" for path in paths], shape)
                found = _read(folder)
    except OSError as error:
        need = np.prod(shape, dtype=np.int64) / 2**20
        raise DataError(
            f"The image cache {folder} cannot be written ({error.strerror or error}). It needs "
            f"{need:.0f} MiB; set SSL_ROT_CACHE to a directory that has the room."
        ) from error
    return found


def _load(folder: Path, shape: tuple[int, ...]) -> CachedImages | None:
    """What an earlier process left, or ``None`` when it is missing, damaged or to be retried."""
    try:
        found = _read(folder)
    except Exception:  # whatever is wrong with it, it is made anew
        return None
    images, sums = found.file.tensor, found.sums
    whole = (
        (images.shape, images.dtype) == (shape, torch.uint8)
        and sums.shape == (*shape[:2], 2)
        and sums.dtype == np.int64
    )
    return found if whole and not any(entry.unreadable for entry in found.bad) else None


def _read(folder: Path) -> CachedImages:
    about = json.loads((folder / ABOUT).read_text())
    return CachedImages(
        file=MappedFile(folder / IMAGES),
        sums=np.load(folder / SUMS),
        bad=[Bad(**entry) for entry in about["bad"]],
        pixels=str(about["pixels"]),
    )


def _build(folder: Path, paths: Sequence[str], shape: tuple[int, ...]) -> None:
    """Decodes everything into a directory beside ``folder``, then renames it."""
    for left in folder.parent.glob(f"{folder.name}.*.partial"):  # by a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    # A name of its own, since workers of a killed process may write for some seconds more.
    unfinished = folder.with_suffix(f".{os.getpid()}.partial")
    try:
        unfinished.mkdir()
        _decode_all(unfinished, paths, shape)
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _decode_all(folder: Path, paths: Sequence[str], shape: tuple[int, ...]) -> None:
    """Writes all that :func:`_read` reads."""
    target = folder / IMAGES
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
        worker_init_fn=partial(_die_with, os.getpid()) if context else None,
        generator=torch.Generator(),  # else it draws from the global stream, in a first start only
    )
    bad: list[Bad] = []
    sums = []
    pixels = hashlib.sha256()
    with tqdm(total=len(paths), desc="decoding", unit="image", disable=None) as progress:
        for chunk in loader:  # in order
            if chunk.error is not None:
                raise chunk.error
            pixels.update(chunk.pixels)
            sums.append(chunk.sums)
            bad += chunk.bad
            progress.update(chunk.images)
    with target.open("r+b") as file:
        os.fsync(file.fileno())
    np.save(folder / SUMS, np.concatenate(sums))
    about = {"bad": [asdict(entry) for entry in bad], "pixels": pixels.hexdigest()}
    (folder / ABOUT).write_text(json.dumps(about))


def _die_with(parent: int, _: int) -> None:
    """Has Linux end a worker whose parent is killed.

    By torch alone, it would wait for ever if the parent died before the worker first looked for it,
    or with more in the pipe to it than a pipe holds.
    """
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it had died already
        os._exit(1)
