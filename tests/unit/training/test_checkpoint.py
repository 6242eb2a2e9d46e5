"""Which checkpoints are kept, and which one is read."""

from __future__ import annotations

import pytest

from ssl_rot.training.checkpoint import Checkpoints
from ssl_rot.training.signals import Interrupts


def saved(folder, *, epochs, every, keep) -> Checkpoints:
    checkpoints = Checkpoints(folder, every=every, keep=keep, interrupts=Interrupts())
    for epoch in range(1, epochs + 1):
        # The best epoch is an early one: neither keeping nor reading goes by accuracy.
        history = [{"test_acc": 1 / epoch, "test_loss": epoch / 10}]
        checkpoints.save(epoch, lambda epoch=epoch, h=history: {"epoch": epoch, "history": h})
    return checkpoints


@pytest.mark.parametrize(
    ("every", "keep", "expected"),
    [(1, 2, [11, 12]), (5, 2, [5, 10]), (2, 1, [12]), (5, None, [5, 10])],
)
def test_the_latest_are_kept(tmp_path, every, keep, expected):
    checkpoints = saved(tmp_path, epochs=12, every=every, keep=keep)
    assert [int(path.name[5:10]) for path in checkpoints.paths()] == expected


def test_the_latest_is_read(tmp_path):
    checkpoints = saved(tmp_path, epochs=12, every=3, keep=None)
    assert checkpoints.latest()["epoch"] == 12
    checkpoints.paths()[-1].write_bytes(b"damaged")
    assert checkpoints.latest()["epoch"] == 9
