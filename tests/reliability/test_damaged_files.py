"""Weights and checkpoints that are damaged or foreign are refused, and none runs code."""

from __future__ import annotations

import hashlib
import io
import pickle
import random

import pytest
import torch
from torch import nn

from ssl_rot.errors import WeightsError
from ssl_rot.models import build_backbone
from ssl_rot.models.weights import load_backbone_weights, save_weights
from ssl_rot.training import checkpoint
from ssl_rot.training.checkpoint import Checkpoints
from ssl_rot.training.signals import Interrupts

MODEL = {
    "_target_": "ssl_rot.models.resnet",
    "widths": [8, 16],
    "blocks": [1, 1],
    "large_stem": False,
    "bias": False,
    "shortcut_norm": True,
}


@pytest.fixture
def backbone():
    return build_backbone(MODEL, in_channels=1, seed=0)


def flipped(content: bytes, draws: random.Random) -> bytes:
    at = draws.randrange(len(content))
    return content[:at] + bytes([content[at] ^ 1 << draws.randrange(8)]) + content[at + 1 :]


def cut(content: bytes, draws: random.Random) -> bytes:
    return content[: draws.randrange(len(content))]


def foreign(content: bytes, draws: random.Random) -> bytes:
    return draws.randbytes(draws.randrange(1, 2000))


@pytest.mark.parametrize("damage", [flipped, cut, foreign])
def test_damaged_weights_are_refused(damage, backbone, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_weights(backbone, path)
    content, draws = path.read_bytes(), random.Random(0)
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    loaded = 0
    for _ in range(100):
        path.write_bytes(damage(content, draws))
        try:
            load_backbone_weights(backbone, path)
        except WeightsError:
            continue
        loaded += 1  # only where the damage changed no tensor, as in the spelling of the header
    assert loaded <= 2
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.state_dict().items())


@pytest.mark.parametrize("damage", [flipped, cut, foreign])
def test_damaged_checkpoints_are_passed_over(damage, tmp_path):
    path = tmp_path / "epoch00001.ckpt"
    checkpoint.write(path, {"epoch": 1, "model": nn.Linear(20, 20).state_dict(), "history": []})
    content, draws = path.read_bytes(), random.Random(0)
    assert checkpoint.read(path)["epoch"] == 1
    for _ in range(100):
        path.write_bytes(damage(content, draws))
        with pytest.raises(ValueError, match="an ssl_rot checkpoint"):
            checkpoint.read(path)


def test_a_damaged_checkpoint_does_not_cost_the_ones_after_it(tmp_path):
    with Interrupts().installed() as interrupts:
        checkpoints = Checkpoints(tmp_path, every=5, keep=1, interrupts=interrupts)
        state = {"history": [{"test_acc": 0.5, "test_loss": 1.0}]}
        checkpoints.save(10, lambda: state)
        (last,) = checkpoints.paths()
        last.write_bytes(b"cut short")
        assert checkpoints.latest() is None
        checkpoints.save(5, lambda: state)  # it began again
        assert checkpoints.latest() == state


class Payload:
    def __reduce__(self):
        return (print, ("the payload ran",))


def test_a_pickle_with_a_payload_runs_nothing(backbone, tmp_path, capsys):
    path = tmp_path / "epoch00001.ckpt"
    buffer = io.BytesIO()
    torch.save({"epoch": Payload()}, buffer)
    payload = buffer.getvalue()
    digest = hashlib.sha256(payload).digest()
    path.write_bytes(b"ssl_rot checkpoint 1\n" + digest + payload)
    with pytest.raises(ValueError, match="objects that no ssl_rot checkpoint has"):
        checkpoint.read(path)
    for content in (payload, pickle.dumps(Payload())):
        path.write_bytes(content)
        with pytest.raises(WeightsError):
            load_backbone_weights(backbone, path)
    assert "ran" not in capsys.readouterr().out
