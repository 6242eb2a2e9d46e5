"""The cache of decoded images: built once, completely or not at all."""

from __future__ import annotations

import logging
import multiprocessing
import os
import resource
import select
import signal
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tqdm import tqdm

from ssl_rot.data import image_folder
from ssl_rot.data.folder import cache, decoding
from ssl_rot.errors import DataError

fork = multiprocessing.get_context("fork")
original_decode = decoding.decode


def slow_decode(path: str, size: int):
    time.sleep(0.005)
    return original_decode(path, size)


def contents(root: Path, size: int = 8) -> torch.Tensor:
    return image_folder(root, size).train.images[:]


def decodes(caplog: pytest.LogCaptureFixture, root: Path, size: int = 8) -> bool:
    """Whether loading the folder decodes it."""
    caplog.clear()
    with caplog.at_level(logging.INFO):
        image_folder(root, size)
    return "Decoding" in caplog.text


@pytest.fixture
def many(tmp_path: Path, write_images) -> Path:
    """A folder with enough images for several chunks, and hence for worker processes."""
    for name in ("cat", "dog"):
        write_images(tmp_path / "many" / "train" / name, 400)
        write_images(tmp_path / "many" / "test" / name, 10)
    return tmp_path / "many"


def test_a_second_start_decodes_nothing(two_trees, caplog):
    assert decodes(caplog, two_trees)
    assert not decodes(caplog, two_trees)


def test_changing_loaded_images_does_not_change_the_cache(two_trees, own_cache):
    first = image_folder(two_trees, 8)
    expected = first.train.images[:].clone()
    first.train.images.base.zero_()
    assert torch.equal(contents(two_trees), expected)


def add(root: Path) -> None:
    (root / "train" / "cat" / "new.png").write_bytes(
        (root / "train" / "cat" / "0.png").read_bytes()
    )


def touch(root: Path) -> None:
    os.utime(root / "train" / "cat" / "0.png", ns=(1, 1))


def touch_in_2286(root: Path) -> None:
    os.utime(root / "train" / "cat" / "0.png", (1e10, 1e10))


def remove(root: Path) -> None:
    (root / "test" / "cat" / "0.png").unlink()


def swap(root: Path) -> None:
    first, second = (root / "train" / name / "0.png" for name in ("cat", "dog"))
    aside = first.rename(root / "aside")
    second.rename(first)
    aside.rename(second)


def grow(root: Path) -> None:
    path = root / "train" / "cat" / "0.png"
    before = path.stat()
    with path.open("ab") as file:
        file.write(b"more")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("change", [add, touch, touch_in_2286, remove, swap, grow])
def test_a_changed_folder_is_decoded_again(two_trees, caplog, change):
    image_folder(two_trees, 8)
    change(two_trees)
    assert decodes(caplog, two_trees)


def test_files_that_differ_only_in_name_are_decoded_again_after_renaming(two_trees):
    """Such as bitmaps from an archive, of the same size and modification time."""
    cats = two_trees / "train" / "cat"
    for path in cats.iterdir():
        Image.open(path).save(path.with_suffix(".bmp"))
        path.unlink()
        os.utime(path.with_suffix(".bmp"), ns=(1, 1))
    before = contents(two_trees).clone()
    (cats / "0.bmp").rename(cats / "9.bmp")
    after = contents(two_trees)
    assert torch.equal(after[:5], before[[1, 2, 3, 4, 0]])


def test_each_size_has_its_own_cache(two_trees, caplog):
    image_folder(two_trees, 8)
    assert decodes(caplog, two_trees, size=9)
    assert not decodes(caplog, two_trees, size=8)


def test_a_cache_of_another_version_is_not_used(two_trees, caplog, monkeypatch):
    image_folder(two_trees, 8)
    monkeypatch.setattr(cache, "FORMAT", cache.FORMAT + 1)
    assert decodes(caplog, two_trees)


@pytest.mark.parametrize("file", ["images.npy", "sums.npy", "about.json"])
@pytest.mark.parametrize("size", [0, 100, -1])
def test_a_truncated_cache_is_rebuilt(two_trees, own_cache, caplog, file, size):
    expected = contents(two_trees).clone()
    [path] = own_cache.rglob(file)
    whole = path.stat().st_size
    os.truncate(path, min(size, whole - 1) if size >= 0 else whole - 1)
    assert decodes(caplog, two_trees)
    assert torch.equal(contents(two_trees), expected)
    assert not decodes(caplog, two_trees)


@pytest.mark.parametrize("file", ["images.npy", "sums.npy"])
def test_a_cache_with_a_damaged_header_is_rebuilt(two_trees, own_cache, caplog, file):
    expected = contents(two_trees).clone()
    [path] = own_cache.rglob(file)
    path.write_bytes(path.read_bytes().replace(b"}", b"(", 1))
    assert decodes(caplog, two_trees)
    assert torch.equal(contents(two_trees), expected)


@pytest.mark.parametrize("file", ["images.npy", "sums.npy"])
@pytest.mark.parametrize("change", [lambda a: a[:-1], lambda a: a.astype("i2")])
def test_a_cache_of_another_shape_is_rebuilt(two_trees, own_cache, caplog, file, change):
    expected = contents(two_trees).clone()
    [path] = own_cache.rglob(file)
    np.save(path, change(np.load(path)))
    assert decodes(caplog, two_trees)
    assert torch.equal(contents(two_trees), expected)


def test_decoding_does_not_change_the_global_random_state(many):
    before = torch.get_rng_state()
    image_folder(many, 8)
    assert torch.equal(torch.get_rng_state(), before)


def test_workers_decode_to_the_same_pixels_as_one_process(many, monkeypatch):
    parallel = contents(many).clone()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert torch.equal(parallel, contents(many))
    cats = sorted(many.glob("train/cat/*"))
    one_by_one = np.stack([original_decode(str(path), 8) for path in cats])
    assert torch.equal(parallel[:400], torch.from_numpy(one_by_one))


def test_two_processes_at_once_build_it_once(many, monkeypatch):
    monkeypatch.setattr(decoding, "decode", slow_decode)
    start, results = fork.Barrier(2), fork.SimpleQueue()

    def child() -> None:
        torch.set_num_threads(1)
        decodings = []
        cache.log.setLevel(logging.INFO)
        cache.log.addFilter(lambda record: decodings.append(record) or True)
        start.wait()
        total = int(contents(many).long().sum())
        results.put((len(decodings), total))

    children = [fork.Process(target=child) for _ in range(2)]
    for process in children:
        process.start()
    (a, total_a), (b, total_b) = results.get(), results.get()
    for process in children:
        process.join()
    assert sorted([a, b]) == [0, 1]
    assert total_a == total_b == int(contents(many).long().sum())


def test_what_a_process_killed_while_decoding_leaves_is_not_used(many, own_cache, monkeypatch):
    def build() -> None:
        tqdm.set_lock(threading.RLock())  # the shared one would stay locked if killed with it
        contents(many)

    monkeypatch.setattr(decoding, "decode", slow_decode)
    child = fork.Process(target=build)
    child.start()
    while not list(own_cache.rglob("images.npy")):
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    monkeypatch.setattr(decoding, "decode", original_decode)
    cats = sorted(many.glob("train/cat/*"))
    one_by_one = np.stack([original_decode(str(path), 8) for path in cats])
    assert torch.equal(contents(many)[:400], torch.from_numpy(one_by_one))
    assert not list(own_cache.rglob("*.partial"))


@pytest.mark.parametrize("moment", ["start", "decode"])
def test_workers_end_with_a_process_that_is_killed(many, tmp_path, moment):
    """Even if torch would notice late: before a worker first checks, or while it decodes."""
    busy = tmp_path / "busy"
    ended, held_open = os.pipe()  # ended is readable once no process holds the other end

    def work(*_: object) -> None:
        busy.touch()
        time.sleep(1)

    def build() -> None:
        tqdm.set_lock(threading.RLock())
        if moment == "start":
            torch.set_num_threads = work
        else:
            decoding.decode = work
        contents(many)

    child = fork.Process(target=build)
    child.start()
    os.close(held_open)
    while not busy.exists():
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert select.select([ended], [], [], 10)[0], "a worker is still running"
    os.close(ended)


def test_a_full_disk_leaves_no_partial_cache(many, own_cache):
    own_cache.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(own_cache)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk")
    try:
        with pytest.raises(DataError, match=r"cannot be written \(No space left.*SSL_ROT_CACHE"):
            image_folder(many, 8)
        assert {path.suffix for path in (own_cache / "images").iterdir()} <= {".lock"}
    finally:
        subprocess.run(["umount", str(own_cache)], check=True)
    assert contents(many).shape == (800, 3, 8, 8)


def test_a_limit_on_file_size_leaves_no_partial_cache(many, own_cache):
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))  # no file may grow larger
    try:
        with pytest.raises(DataError, match=r"cannot be written.*SSL_ROT_CACHE"):
            image_folder(many, 8)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert {path.suffix for path in (own_cache / "images").iterdir()} <= {".lock"}
    assert contents(many).shape == (800, 3, 8, 8)


def test_a_cache_that_cannot_be_created_is_reported(two_trees, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("SSL_ROT_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=f"{tmp_path}/file.*cannot be written.*set SSL_ROT_CACHE"):
        image_folder(two_trees, 8)


def test_unreadable_files_are_retried(two_trees, monkeypatch):
    def refuse(path: str, size: int):
        raise PermissionError(13, "Permission denied")

    expected = contents(two_trees).clone()
    touch(two_trees)
    monkeypatch.setattr(decoding, "decode", refuse)
    with pytest.raises(DataError, match=r"14 of 14 files(.|\n)*Permission denied"):
        image_folder(two_trees, 8)
    monkeypatch.setattr(decoding, "decode", original_decode)
    assert torch.equal(contents(two_trees), expected)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"SSL_ROT_CACHE": "~/own", "XDG_CACHE_HOME": "/xdg"}, "/home/me/own"),
        ({"SSL_ROT_CACHE": "~nobody-here/own"}, "~nobody-here/own"),
        ({"XDG_CACHE_HOME": "/xdg"}, "/xdg/ssl_rot"),
        ({"XDG_CACHE_HOME": ""}, "/home/me/.cache/ssl_rot"),
        ({}, "/home/me/.cache/ssl_rot"),
    ],
)
def test_the_cache_directory(monkeypatch, environment, expected):
    monkeypatch.setenv("HOME", "/home/me")
    for name in ("SSL_ROT_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cache.cache_dir() == Path(expected)
