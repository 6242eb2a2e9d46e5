"""The cache of decoded images: one memory-mapped array per listing and size, built once."""

import ctypes
import hashlib
import json
import logging
import os
import shutil
import signal
import sys
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

from ssl_rot.data.folder.decoding import BadFile, ChunkDecoder
from ssl_rot.data.folder.encoded import EncodedImages, Listing
from ssl_rot.data.images import MappedFile
from ssl_rot.data.source import fingerprint
from ssl_rot.errors import DataError

log = logging.getLogger(__name__)

FORMAT = 4
"""Part of the key: increase it if the same files would be decoded to different bytes."""
CHUNK_BYTES = 2**20
"""Large enough to make communication negligible, small enough for a smooth progress bar."""
IMAGES = "images.npy"
SUMS = "sums.npy"
ABOUT = "about.json"
PR_SET_PDEATHSIG = 1  # from linux/prctl.h


def cache_dir() -> Path:
    """``$SSL_ROT_CACHE``, else ``ssl_rot`` in the user's cache directory."""
    if configured := os.environ.get("SSL_ROT_CACHE"):
        return Path(os.path.expanduser(configured))
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.path.expanduser(base)) / "ssl_rot"


@dataclass(frozen=True)
class CachedImages:
    """The decoded images of some files; those that could not be decoded are black.

    Args:
        file: uint8 ``[N, 3, image_size, image_size]``.
        sums: as returned by ``channel_sums``.
        pixels: a hash of all of them.
    """

    file: MappedFile
    sums: NDArray[np.int64]
    bad: list[BadFile]
    pixels: str


def cached_images(listing: Listing, image_size: int) -> CachedImages:
    """Reads images from the cache, after decoding them if necessary.

    If several processes need the same images, only one decodes them. Incomplete caches are never
    used, nor those of another version of the listing.

    Raises:
        DataError: the cache cannot be written.
    """
    # Joined by a character that no path contains: much faster than repr of a million paths.
    key = fingerprint(FORMAT, image_size, "\0".join(listing.names), listing.version)
    folder = cache_dir() / "images" / key
    shape = (len(listing.names), 3, image_size, image_size)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            cached = _load_valid(folder, shape)
            if cached is None:
                count, place = len(listing.names), listing.where.partition("=")[2]
                log.info("Decoding %d images from %s into %s", count, place, folder)
                _build(folder, listing.images, shape)
                cached = _load(folder)
    except OSError as error:
        size = np.prod(shape, dtype=np.int64) / 2**20
        raise DataError(
            f"The image cache {folder} cannot be written ({error.strerror or error}). It needs "
            f"{size:.0f} MiB; set SSL_ROT_CACHE to a directory with enough space."
        ) from error
    return cached


def _load_valid(folder: Path, shape: tuple[int, ...]) -> CachedImages | None:
    """Loads a cache; ``None`` if it is missing or damaged, or if reading files is to be retried."""
    try:
        cached = _load(folder)
    except Exception:  # whatever is wrong with it, it is rebuilt
        return None
    images, sums = cached.file.tensor, cached.sums
    is_complete = (
        (images.shape, images.dtype) == (shape, torch.uint8)
        and sums.shape == (*shape[:2], 2)
        and sums.dtype == np.int64
    )
    return cached if is_complete and not any(file.unreadable for file in cached.bad) else None


def _load(folder: Path) -> CachedImages:
    about = json.loads((folder / ABOUT).read_text())
    return CachedImages(
        file=MappedFile(folder / IMAGES),
        sums=np.load(folder / SUMS),
        bad=[BadFile(**file) for file in about["bad"]],
        pixels=str(about["pixels"]),
    )


def _build(folder: Path, images: EncodedImages, shape: tuple[int, ...]) -> None:
    """Decodes all images into a temporary directory, then renames it to ``folder``."""
    for stale in folder.parent.glob(f"{folder.name}.*.partial"):  # of a process that was killed
        shutil.rmtree(stale, ignore_errors=True)
    # Named by process, since workers of a killed process may keep writing for a few seconds.
    partial_folder = folder.with_suffix(f".{os.getpid()}.partial")
    try:
        partial_folder.mkdir()
        _decode_all(partial_folder, images, shape)
        shutil.rmtree(folder, ignore_errors=True)
        partial_folder.rename(folder)
    except BaseException:
        shutil.rmtree(partial_folder, ignore_errors=True)
        raise


def _decode_all(folder: Path, images: EncodedImages, shape: tuple[int, ...]) -> None:
    """Writes the files that :func:`_load` reads."""
    target = folder / IMAGES
    chunk_length = max(1, min(256, CHUNK_BYTES // int(np.prod(shape[1:]))))
    offset = np.lib.format.open_memmap(target, "w+", np.uint8, shape).offset
    decoder = ChunkDecoder(images, shape[-1], chunk_length, target, offset)
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    workers = min(cores, len(decoder)) if len(decoder) > 2 else 0
    # Processes, since most of the work on small images holds the interpreter's lock. Forked ones
    # start immediately and, unlike spawned ones, from any script; they use neither torch nor a GPU.
    context = "fork" if workers and sys.platform == "linux" else None
    loader: DataLoader[Any] = DataLoader(
        decoder,  # type: ignore[arg-type]  # has the two methods that are used
        batch_size=None,
        num_workers=workers,
        multiprocessing_context=context,
        worker_init_fn=partial(_end_with_parent, os.getpid()) if context else None,
        generator=torch.Generator(),  # the default one changes the global random state
    )
    bad: list[BadFile] = []
    sums = []
    pixels = hashlib.sha256()
    with tqdm(total=len(images), desc="decoding", unit="image", disable=None) as progress:
        for chunk in loader:  # in order
            if chunk.error is not None:
                raise chunk.error
            pixels.update(chunk.pixels)
            sums.append(chunk.sums)
            bad += chunk.bad
            progress.update(len(chunk.sums))
    with target.open("r+b") as file:
        os.fsync(file.fileno())
    np.save(folder / SUMS, np.concatenate(sums))
    about = {"bad": [asdict(bad_file) for bad_file in bad], "pixels": pixels.hexdigest()}
    (folder / ABOUT).write_text(json.dumps(about))


def _end_with_parent(parent: int, worker: int) -> None:
    """Has Linux kill this worker process when its parent ends.

    With torch alone, it would wait forever if the parent died before the worker first checked for
    it, or while the pipe between them was full.
    """
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has already ended
        os._exit(1)
