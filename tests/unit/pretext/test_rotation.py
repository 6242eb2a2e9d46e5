"""Turning whole batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from ssl_rot.pretext import Rotate

FOUR = (0, 90, 180, 270)
EIGHT = tuple(range(0, 360, 45))


def random_images(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0)) + 0.5


@pytest.mark.parametrize("shape", [(1, 1, 4, 4), (3, 3, 5, 5), (2, 1, 32, 32)])
@pytest.mark.parametrize("angles", [FOUR, (0, 180), (90, 270), (180, 0, 90)])
def test_right_angles_move_pixels_and_change_none(shape, angles):
    images = random_images(*shape)
    turned, targets = Rotate(angles)(images)
    count = len(images)
    assert turned.shape == (len(angles) * count, *shape[1:])
    assert targets.tolist() == [i for i in range(len(angles)) for _ in range(count)]
    for turn, angle in enumerate(angles):
        expected = np.rot90(images.numpy(), angle // 90, axes=(2, 3))
        np.testing.assert_array_equal(turned[targets == turn].numpy(), expected)


def test_a_rotation_is_counterclockwise():
    image = torch.tensor([[1.0, 2.0], [3.0, 4.0]])[None, None]
    turned, _ = Rotate([0, 90])(image)
    assert turned[1, 0].tolist() == [[2.0, 4.0], [1.0, 3.0]]


@pytest.mark.parametrize("angles", [(90, 450), (-90, 270), (0, 720)])
def test_angles_are_taken_modulo_360(angles):
    first, second = Rotate(angles)(random_images(2, 1, 4, 4))[0].chunk(2)
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    ("shape", "rows", "columns"),
    [((4, 8), slice(0, 4), slice(2, 6)), ((9, 6), slice(1, 7), slice(0, 6))],
)
@pytest.mark.parametrize("angles", [FOUR, EIGHT])
def test_images_are_cropped_square_before_they_are_rotated(shape, rows, columns, angles):
    images = random_images(2, 3, *shape)
    turned, targets = Rotate(angles)(images)
    square, expected_targets = Rotate(angles)(images[..., rows, columns])
    assert torch.equal(turned, square)
    assert torch.equal(targets, expected_targets)


def circle(side: int) -> torch.Tensor:
    rows, columns = np.indices((side, side)) + 0.5 - side / 2
    return torch.from_numpy(rows**2 + columns**2 <= (side / 2) ** 2)


@pytest.mark.parametrize("side", [8, 9, 16, 32])
def test_eight_rotations_are_masked_to_the_same_circle(side):
    images = random_images(3, 2, side, side)  # nowhere 0, so that what is 0 was cut
    turned, targets = Rotate(EIGHT)(images)
    inside = circle(side)
    assert inside.float().mean() == pytest.approx(torch.pi / 4, abs=0.07)
    assert torch.equal(turned != 0, inside.expand_as(turned))
    for turn, angle in enumerate(EIGHT):
        if angle % 90 == 0:  # and inside they move pixels and change none
            expected = torch.rot90(images, angle // 90, (2, 3)) * inside
            assert torch.equal(turned[targets == turn], expected)


def test_the_mask_leaves_no_trace_of_the_angle_in_a_grey_image():
    """Interpolation must not darken the rim of the slanting turns: it would give them away."""
    turned, _ = Rotate(EIGHT)(torch.full((1, 1, 16, 16), 0.7))
    for image in turned:
        torch.testing.assert_close(image, turned[0])


@pytest.mark.parametrize("angle", [45, 135, 225, 315])
def test_oblique_rotations_agree_with_scipy(angle):
    rows, columns = np.indices((32, 32)) / 32
    image = np.sin(5 * rows) + np.cos(
        3 * columns + 2 * rows
    )  # smooth, since SciPy's splines differ
    turned, _ = Rotate([angle])(torch.from_numpy(image).float()[None, None])
    expected = ndimage.rotate(image, angle, reshape=False, order=1, mode="nearest")
    inner = circle(32).numpy() & (np.hypot(rows - 0.484, columns - 0.484) < 0.45)
    np.testing.assert_allclose(turned[0, 0].numpy()[inner], expected[inner], atol=0.02)


def test_two_45_degree_rotations_are_nearly_one_of_90():
    rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    smooth = (torch.sin(rows / 5) + torch.cos(columns / 7))[None, None]
    once = Rotate([45])(smooth)[0]
    twice = Rotate([45])(once)[0]
    right = torch.rot90(smooth, 1, (2, 3))
    inner = circle(24)
    difference = (twice - right)[0, 0, 4:28, 4:28][inner]
    assert difference.abs().max() < 0.05
