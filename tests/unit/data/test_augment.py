"""Random cropping and flipping of whole batches."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from ssl_rot.data import Augment
from ssl_rot.seeding import generator


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(1, 256, (64, 3, 6, 6), dtype=torch.uint8)


def every_outcome(image: torch.Tensor, padding: int, flip: bool) -> list[torch.Tensor]:
    """All crops of one image, found by slicing."""
    padded = F.pad(image, [padding] * 4)
    height, width = image.shape[-2:]
    crops = [
        padded[:, top : top + height, left : left + width]
        for top in range(2 * padding + 1)
        for left in range(2 * padding + 1)
    ]
    return crops + [crop.flip(2) for crop in crops] if flip else crops


@pytest.mark.parametrize(("padding", "flip"), [(0, True), (1, False), (2, True)])
def test_every_image_becomes_one_of_its_own_crops(images, padding, flip):
    out = Augment(padding, flip)(images, generator(0))
    assert out.dtype == torch.uint8
    assert out.shape == images.shape
    for before, after in zip(images, out, strict=True):
        assert any(torch.equal(after, crop) for crop in every_outcome(before, padding, flip))


def test_each_image_of_a_batch_is_augmented_independently():
    same = torch.randint(1, 256, (1, 1, 6, 6), dtype=torch.uint8).expand(400, 1, 6, 6)
    out = Augment(2, True)(same, generator(0))
    kinds = {tuple(image.flatten().tolist()) for image in out}
    assert len(kinds) == 2 * 5 * 5, "400 draws should show all 25 crops, mirrored and not"


def test_every_crop_and_either_side_are_equally_likely():
    same = torch.arange(1, 37, dtype=torch.uint8).reshape(1, 1, 6, 6).expand(5000, 1, 6, 6)
    seen = Augment(2, True)(same, generator(0)).flatten(1).unique(dim=0, return_counts=True)[1]
    assert seen.float().std() < 2 * (5000 / 50) ** 0.5  # that of a Poisson number is its root
    mirrored = Augment(0, True)(same, generator(0))[:, 0, 0, 0] == 6
    assert abs(mirrored.double().mean() - 0.5) < 0.03  # four standard errors


def test_results_depend_on_the_generator_alone(images):
    augment = Augment(2, True)
    torch.manual_seed(1)
    first = augment(images, generator(7))
    torch.manual_seed(2)
    assert torch.equal(first, augment(images, generator(7)))
    assert not torch.equal(first, augment(images, generator(8)))


def test_nothing_to_do_changes_nothing(images):
    assert Augment(0, False)(images, generator(0)) is images


@pytest.mark.parametrize("policy", ["trivial", "rand"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_policy_changes_images_in_many_ways_by_the_generator_alone(policy, channels):
    image = torch.randint(0, 256, (1, channels, 16, 16), dtype=torch.uint8).repeat(64, 1, 1, 1)
    augment = Augment(crop_padding=0, flip=False, policy=policy)

    def augmented(**part):
        images = image[part.get("first", 0) :][: part.pop("count", 64)]
        return augment(images, torch.Generator().manual_seed(7), 64, **part)

    state = torch.get_rng_state()
    whole = augmented()
    assert torch.equal(torch.get_rng_state(), state)
    assert (whole.shape, whole.dtype) == (image.shape, torch.uint8)
    assert torch.equal(whole, augmented())
    assert 6 < len({each.numpy().tobytes() for each in whole}) <= 16
    # Two processes augment the images of their parts as one process does.
    parts = [augmented(count=40), augmented(first=40)]
    assert torch.equal(torch.cat(parts), whole)


def test_a_policy_is_for_the_downstream_phase_alone():
    augment = Augment(crop_padding=2, flip=True, policy="rand")
    assert augment.before_labels() == Augment(crop_padding=2, flip=True)
    assert Augment(crop_padding=0, flip=False, policy="rand").changes_images
