"""Predictions and evaluation use the network as it is served: in eval mode."""

from __future__ import annotations

import torch
from torch import nn

from ssl_rot.data import Batches
from ssl_rot.training.compute import Compute
from ssl_rot.training.evaluation import evaluate, predict

CPU = Compute(torch.device("cpu"), "fp32")


def test_dropout_and_batchnorm_are_in_eval_mode():
    images = torch.arange(16, dtype=torch.uint8).view(16, 1, 1, 1).mul(16).expand(16, 1, 4, 4)
    labels = torch.arange(16) % 2
    batches = Batches(
        images.contiguous(), labels, batch_size=5, device="cpu", mean=[0.5], std=[0.5],
        augment=None, seed=0, stream="x", shuffle=False,
    )  # fmt: skip
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.Dropout(0.9), nn.Linear(64, 2)
    )
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first, targets, probabilities = predict(model, batches, CPU)
    model.train()
    second, *_ = predict(model, batches, CPU)
    model.eval()
    with torch.inference_mode():
        inputs = torch.cat([inputs for inputs, _ in batches.epoch(0)])
        expected = model(inputs)
    assert torch.equal(targets, labels)
    assert torch.equal(first, second)
    assert torch.equal(first, expected.argmax(1))
    torch.testing.assert_close(probabilities, expected.softmax(1).max(1).values)
    model.train()
    loss, accuracy = evaluate(model, batches, nn.CrossEntropyLoss(), CPU)
    assert accuracy == float((expected.argmax(1) == labels).double().mean())
    assert abs(loss - float(nn.functional.cross_entropy(expected, labels))) < 1e-6
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
