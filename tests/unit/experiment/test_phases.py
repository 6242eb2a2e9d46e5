"""What the two phases train and evaluate on."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ssl_rot.config.validation import validate
from ssl_rot.data import Images
from ssl_rot.experiment.context import load_training_context
from ssl_rot.experiment.phases import PHASES

AUGMENTED = (
    *("dataset.image_size=8", "dataset.train_size=96", "dataset.val_fraction=0.1"),
    *("dataset.augment.crop_padding=2", "dataset.augment.flip=true", "precision=fp32"),
)


@pytest.fixture(scope="module")
def context(compose):
    return load_training_context(validate(compose("+experiment=rotation", *AUGMENTED)))


@pytest.mark.parametrize("split", ["test", "val"])
def test_evaluation_sees_the_plain_normalized_images(context, split):
    phase = PHASES["downstream"](context, None)
    images, labels = context.data.held_out[split].images[:], context.data.held_out[split].labels
    mean, std = (torch.tensor(x)[:, None, None] for x in (context.data.mean, context.data.std))
    expected = (images.float() / 255 - mean) / std
    for epoch in (0, 1):
        inputs, targets = (
            torch.cat(x) for x in zip(*phase.evaluations[split].epoch(epoch), strict=True)
        )
        torch.testing.assert_close(inputs, expected, rtol=0, atol=1e-5)
        assert torch.equal(targets, labels)


def test_the_pretext_evaluates_on_plain_images_in_every_rotation(context):
    phase = PHASES["pretext"](context, None)
    downstream = PHASES["downstream"](context, None)
    plain = torch.cat([inputs for inputs, _ in downstream.evaluations["test"].epoch(0)])
    seen = [*phase.evaluations["test"].epoch(0)]
    unrotated = torch.cat([inputs[targets == 0] for inputs, targets in seen])
    upside_down = torch.cat([inputs[targets == 2] for inputs, targets in seen])
    assert torch.equal(unrotated, plain)
    assert torch.equal(upside_down, plain.flip(2, 3))


@pytest.mark.parametrize("phase", PHASES)
def test_every_seed_starts_from_weights_of_its_own(context, phase):
    other = replace(context, config={**context.config, "seed": 1})
    starts = [PHASES[phase](each, None).model.state_dict() for each in (context, context, other)]
    kernels = [name for name, tensor in starts[0].items() if tensor.ndim > 1]
    assert any(name.startswith("backbone.") for name in kernels)
    assert any(name.startswith("head.") for name in kernels)
    for name in kernels:
        assert torch.equal(starts[0][name], starts[1][name])
        assert not torch.equal(starts[0][name], starts[2][name])


def test_training_images_are_augmented(context):
    phase = PHASES["downstream"](context, None)
    one, other = (next(phase.train.epoch(epoch))[0] for epoch in (1, 2))
    assert one.shape == other.shape
    assert not torch.equal(one, other)


def test_an_image_is_augmented_anew_in_every_step(context):
    """Identical images in two batches of an epoch: each step draws for itself."""
    train = PHASES["downstream"](context, None).train
    one = train.images[torch.zeros(1, dtype=torch.int64)]
    train.images = Images(one.expand(32, *one.shape[1:]).contiguous())
    train.labels = torch.zeros(32, dtype=torch.int64)
    train.samples, train.sizes = 32, [16, 16]
    first, second = (inputs for inputs, _ in train.epoch(1))
    assert not torch.equal(first, second)
