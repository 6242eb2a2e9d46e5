"""Batches on the device; the data half of rule 1 of a fair comparison."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from ssl_rot.data import Batches, Images
from ssl_rot.data.images import MappedFile


def everything(batches: Batches, epoch: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    inputs, targets = zip(*batches.epoch(epoch), strict=True)
    return torch.cat(inputs), torch.cat(targets)


def test_pixels_are_normalized_by_channel(make_batches, pixels):
    inputs, targets = everything(make_batches(shuffle=False, augment=None))
    mean, std = torch.tensor([[0.5, 0.4, 0.3], [0.2, 0.3, 0.4]])[:, :, None, None]
    assert inputs.dtype == torch.float32
    torch.testing.assert_close(inputs, (pixels / 255 - mean) / std)
    assert targets.tolist() == list(range(23))


def test_an_epoch_holds_every_sample_once_with_its_label(make_batches, pixels):
    inputs, targets = everything(make_batches(augment=None))
    assert sorted(targets.tolist()) == list(range(23))
    assert targets.tolist() != list(range(23))
    in_order, _ = everything(make_batches(augment=None, shuffle=False))
    assert torch.equal(inputs, in_order[targets])


def test_order_and_augmentation_depend_on_seed_stream_and_epoch_alone(make_batches, pixels):
    torch.manual_seed(1)
    expected, order = everything(make_batches(), epoch=3)

    # As in the other arm: after a pretext phase, other global draws, and earlier epochs.
    torch.manual_seed(2)
    list(make_batches(stream="pretext", batch_size=7).epoch(1))
    batches = make_batches()
    list(batches.epoch(1))
    torch.rand(100)
    again, same_order = everything(batches, epoch=3)
    assert torch.equal(again, expected)
    assert torch.equal(same_order, order)

    for other in ({"seed": 1}, {"stream": "pretext"}):
        assert not torch.equal(everything(make_batches(**other), epoch=3)[1], order)
    assert not torch.equal(everything(batches, epoch=4)[1], order)


def test_augmentation_is_new_in_every_epoch(make_batches):
    batches = make_batches(shuffle=False)
    assert not torch.equal(everything(batches, 1)[0], everything(batches, 2)[0])


def test_augmentation_is_another_for_another_seed_or_stream(make_batches):
    plain, _ = everything(make_batches(shuffle=False), epoch=1)
    for other in ({"seed": 1}, {"stream": "pretext"}):
        assert not torch.equal(everything(make_batches(shuffle=False, **other), epoch=1)[0], plain)


@pytest.mark.parametrize(
    ("count", "batch_size", "shuffle", "sizes"),
    [
        (10, 5, True, [5, 5]),
        (12, 5, True, [5, 5, 2]),
        (11, 5, True, [5, 6]),  # BatchNorm cannot train on one image
        (11, 5, False, [5, 5, 1]),  # evaluation can
        (3, 5, True, [3]),
        (1, 5, True, [1]),
        (2, 1, True, [1, 1]),
    ],
)
def test_sizes_of_batches(make_batches, pixels, count, batch_size, shuffle, sizes):
    batches = make_batches(pixels[:count], batch_size=batch_size, shuffle=shuffle)
    assert [len(targets) for _, targets in batches.epoch(1)] == sizes
    assert len(batches) == len(sizes)


def test_the_task_comes_last_and_returns_the_targets(make_batches, pixels):
    def rotate(inputs: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
        index = torch.arange(2).repeat_interleave(len(inputs))
        return torch.cat([inputs, inputs.rot90(2, (2, 3))]), index

    rotated = make_batches(labels=None, task=rotate)
    plain = make_batches()
    for (inputs, targets), (upright, _) in zip(rotated.epoch(2), plain.epoch(2), strict=True):
        assert torch.equal(inputs, torch.cat([upright, upright.rot90(2, (2, 3))]))
        assert targets.tolist() == [0] * len(upright) + [1] * len(upright)


def test_longer_epochs_go_on_with_the_next_pass(make_batches, pixels):
    def order(samples: int | None, epochs: int) -> list[int]:
        batches = make_batches(pixels[:10], samples=samples, augment=None)
        return [t for epoch in range(1, epochs + 1) for t in everything(batches, epoch)[1].tolist()]

    passes = order(None, 7)
    assert order(10, 7) == passes
    assert order(23, 3) == passes[:69]  # 69 images: every one six times, and nine of them once more
    batches = make_batches(pixels[:10], samples=23)
    assert len(batches) == len(list(batches.epoch(2))) == len(batches.weights) == 5


def test_the_draws_of_a_task_are_named_by_epoch_step_and_process(make_batches, pixels):
    def draws(epoch: int, **options: object) -> list[float]:
        def draw(inputs: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
            return inputs, torch.rand(1, generator=generator)

        steps = make_batches(pixels[:20], None, task=draw, **options).epoch(epoch)
        return [float(drawn) for _, drawn in steps]

    first, second = draws(1), draws(2)
    assert len({*first, *second, *draws(1, part=(1, 2))}) == 3 * len(first) > 3
    assert draws(2) == second  # as in a run that is resumed after the first epoch
    assert draws(1, part=(0, 2)) == first


def test_rows_of_a_larger_array_equal_a_copy(make_batches, pixels):
    rows = torch.tensor([20, 3, 3, 7, 11, 0, 22])
    lazy = everything(make_batches(Images(pixels, rows)))
    copied = everything(make_batches(pixels[rows]))
    assert torch.equal(lazy[0], copied[0])
    assert torch.equal(lazy[1], copied[1])


def bytes_read() -> int:
    """Bytes that this process has read from disks so far."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["read_bytes"])


def on_disk(pixels: torch.Tensor, folder: Path) -> Images:
    np.save(folder / "images.npy", pixels.numpy())
    file = MappedFile(folder / "images.npy")
    return Images(file.tensor, file=file)


def test_a_mapped_file_gives_identical_batches(make_batches, pixels, tmp_path):
    mapped = on_disk(pixels, tmp_path)
    for count in (23, 5, 1):  # more, as many and fewer batches than are prefetched
        expected = everything(make_batches(pixels[:count]), epoch=2)
        found = everything(make_batches(mapped.select(torch.arange(count))), epoch=2)
        assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_the_next_batch_is_read_while_one_is_in_use(make_batches, pixels, tmp_path, monkeypatch):
    read = threading.Semaphore(0)
    gather = Images.__getitem__
    monkeypatch.setattr(Images, "__getitem__", lambda *args: (gather(*args), read.release())[0])
    epoch = make_batches(on_disk(pixels, tmp_path), batch_size=8).epoch(1)
    next(epoch)
    for _ in range(2):  # the first batch and, before it is requested, the second
        assert read.acquire(timeout=10)


def test_errors_while_reading_the_file_are_raised(make_batches, pixels, tmp_path):
    batches = make_batches(on_disk(pixels, tmp_path).select(torch.tensor([0, 99])))
    with pytest.raises((IndexError, ValueError), match="out of"):
        everything(batches)


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="cannot empty the page cache")
def test_only_requested_images_are_read_from_disk(make_batches, tmp_path):
    count = 4096
    images = on_disk(torch.zeros(count, 3, 64, 64, dtype=torch.uint8), tmp_path)
    with (tmp_path / "images.npy").open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    rows = torch.arange(0, count, 512)
    before = bytes_read()
    everything(make_batches(images.select(rows), torch.zeros(len(rows)), task=None))
    read = bytes_read() - before
    if read == 0:
        pytest.skip("the folder for temporary files is not on a disk")
    # 96 KiB are requested; read-ahead would read nearly all 48 MiB. Libraries may add to it.
    assert read < images.base.numel() / 4


def test_labels_or_a_task_must_be_given(make_batches):
    with pytest.raises(ValueError, match="the task must return the targets"):
        make_batches(labels=None)
