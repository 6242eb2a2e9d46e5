"""SimCLR: its loss against references, its views, and what neither may depend on."""

import math

import pytest
import torch
from torch.nn.functional import cosine_similarity, cross_entropy

from ssl_rot.pretext.simclr import Similarities, partners, without_diagonal
from ssl_rot.pretext.views import crop_and_resize, drop_color, jitter_color


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def nt_xent(features: torch.Tensor, temperature: float) -> torch.Tensor:
    """Our loss: a cross-entropy over the similarities of ``features`` ``[2B, D]``."""
    head = Similarities(features.shape[1], 4, temperature)
    head.projection = torch.nn.Flatten()
    logits = head(features[:, :, None, None])
    return cross_entropy(logits, partners(len(features) // 2))


def reference(features: torch.Tensor, temperature: float) -> float:
    """Equation 1 of the paper, view by view."""
    count, total = len(features) // 2, 0.0
    for i in range(2 * count):
        partner = (i + count) % (2 * count)
        exponentials = [
            math.exp(cosine_similarity(features[i], features[k], dim=0) / temperature)
            for k in range(2 * count)
        ]
        others = sum(exponentials) - exponentials[i]
        total -= math.log(exponentials[partner] / others)
    return total / (2 * count)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_the_loss_is_that_of_the_paper(count, temperature):
    features = torch.randn(2 * count, 5, generator=draws())
    expected = reference(features.double(), temperature)
    assert float(nt_xent(features, temperature)) == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [(0.1, 1.7845916748046875), (0.5, 1.2168009281158447), (1.0, 1.341522216796875)],
)
def test_the_loss_is_that_of_lightly(temperature, expected):
    """What ``lightly.loss.NTXentLoss`` gives; to install lightly takes pytorch-lightning."""
    features = torch.arange(24.0).view(8, 3).sin()
    assert float(nt_xent(features, temperature)) == pytest.approx(expected, rel=1e-5)


def test_the_loss_of_two_images_by_hand():
    """Their views agree, and are at right angles to those of the other."""
    features = torch.eye(2).repeat(2, 1)
    # Similarity 1 to the partner and 0 to both views of the other image.
    assert float(nt_xent(features, 1.0)) == pytest.approx(math.log(1 + 2 / math.e), abs=1e-6)
    assert float(nt_xent(features, 0.5)) == pytest.approx(math.log(1 + 2 / math.e**2), abs=1e-6)


def test_the_loss_depends_neither_on_length_nor_on_the_order_of_images_and_views():
    features = torch.randn(12, 5, generator=draws())
    loss = nt_xent(features, 0.5)
    order = torch.randperm(6, generator=draws(1))
    lengths = torch.rand(12, 1, generator=draws(2)) + 0.1
    for other in (
        features * lengths,
        torch.cat([features[:6][order], features[6:][order]]),
        torch.cat([features[6:], features[:6]]),
        features @ torch.linalg.qr(torch.randn(5, 5, generator=draws(3)))[0],
    ):
        torch.testing.assert_close(nt_xent(other, 0.5), loss)
    mispaired = torch.cat([features[:6], features[6:].roll(1, 0)])
    assert abs(float(nt_xent(mispaired, 0.5) - loss)) > 1e-3


@pytest.mark.parametrize("size", [2, 4, 10])
def test_the_partner_is_in_its_column(size):
    square = torch.arange(size * size).view(size, size)
    rows = without_diagonal(square)
    kept = [
        [value for j, value in enumerate(row) if j != i] for i, row in enumerate(square.tolist())
    ]
    assert rows.tolist() == kept
    found = rows[torch.arange(size), partners(size // 2)].tolist()
    assert found == [int(square[i, (i + size // 2) % size]) for i in range(size)]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_views_are_drawn_for_each_image_and_stay_pixels(channels):
    images = torch.rand(1, channels, 12, 12, generator=draws()).repeat(6, 1, 1, 1)
    for augment in (
        lambda generator: crop_and_resize(images, 0.2, flip=True, generator=generator),
        lambda generator: jitter_color(images, 0.8, generator),
    ):
        views = augment(draws(1))
        assert views.shape == images.shape
        assert float(views.min()) >= 0
        assert float(views.max()) <= 1
        assert torch.equal(views, augment(draws(1)))
        distinct = {view.numpy().tobytes() for view in views}
        assert len(distinct) > 3


def test_a_crop_of_the_whole_is_the_image_or_its_mirror():
    images = torch.rand(40, 2, 8, 8, generator=draws())
    # The smallest crop has the whole area; only the aspect ratio is left, so take a flat one.
    columns = torch.rand(40, 2, 1, 1, generator=draws()).expand(-1, -1, 8, 8)
    torch.testing.assert_close(crop_and_resize(columns, 0.1, flip=True, generator=draws()), columns)
    ramp = torch.linspace(0, 1, 8).expand(40, 1, 8, 8)
    rising = crop_and_resize(ramp, 0.5, flip=False, generator=draws())
    assert bool((rising[..., 0] < rising[..., -1]).all())
    both = crop_and_resize(ramp, 0.5, flip=True, generator=draws())
    mirrored = int((both[:, 0, 0, 0] > both[:, 0, 0, -1]).sum())
    assert 8 < mirrored < 32
    assert images.shape == crop_and_resize(images, 1.0, flip=False, generator=draws()).shape


def test_a_grey_image_has_no_color_to_change():
    grey = torch.rand(30, 1, 6, 6, generator=draws()).repeat(1, 3, 1, 1)
    changed = jitter_color(grey, 1.0, draws(1))
    torch.testing.assert_close(changed[:, 0], changed[:, 1], atol=1e-3, rtol=0)
    torch.testing.assert_close(changed[:, 0], changed[:, 2], atol=1e-3, rtol=0)
    assert not torch.allclose(changed, grey, atol=0.05)
    torch.testing.assert_close(drop_color(grey, 0.5, draws()), grey)


def test_a_share_of_the_images_loses_its_color():
    images = torch.rand(200, 3, 2, 2, generator=draws())
    dropped = drop_color(images, 0.2, draws(1))
    is_gray = (dropped[:, 0] == dropped[:, 1]).flatten(1).all(1)
    assert 20 < int(is_gray.sum()) < 60
    assert torch.equal(dropped[~is_gray], images[~is_gray])
