"""Properties of all rotations, freeze policies, keys and random streams."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from ssl_rot.config.run_keys import compute_run_keys
from ssl_rot.freeze import FreezeBackbone, FreezeNothing, FreezeThrough, GradualUnfreezing
from ssl_rot.pretext import Rotate
from ssl_rot.seeding import derive

RIGHT_ANGLES = [0, 90, 180, 270]
images = st.builds(
    lambda seed, batch, channels, side: torch.rand(
        batch, channels, side, side, generator=torch.Generator().manual_seed(seed)
    ),
    st.integers(0, 999),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(2, 9),
)
angle_lists = st.lists(st.sampled_from(range(0, 360, 45)), min_size=2, max_size=8, unique=True)
right_angle_lists = st.lists(st.sampled_from(RIGHT_ANGLES), min_size=2, max_size=4, unique=True)
stages = st.integers(1, 6).map(lambda count: tuple(f"stage{i}" for i in range(count)))


@given(images, right_angle_lists)
def test_right_angles_only_permute_pixels(batch, angles):
    rotated, _ = Rotate(angles)(batch)
    for part in rotated.split(len(batch)):
        assert torch.equal(part.flatten(1).sort()[0], batch.flatten(1).sort()[0])


@given(images, angle_lists)
def test_every_image_is_in_the_batch_once_per_angle(batch, angles):
    rotated, targets = Rotate(angles)(batch)
    assert len(rotated) == len(targets) == len(angles) * len(batch)
    assert torch.bincount(targets, minlength=len(angles)).tolist() == [len(batch)] * len(angles)


@given(images, right_angle_lists)
def test_rotating_back_restores_the_image(batch, angles):
    rotated, targets = Rotate(angles)(batch)
    for part, target in zip(rotated.split(len(batch)), targets[:: len(batch)], strict=True):
        restored = torch.rot90(part, -angles[int(target)] // 90, (-2, -1))
        assert torch.equal(restored, batch)


@given(images, angle_lists)
def test_the_rotation_of_an_image_does_not_depend_on_its_batch(batch, angles):
    rotate = Rotate(angles)
    in_batch, _ = rotate(batch)
    alone, _ = rotate(batch[:1])
    torch.testing.assert_close(in_batch[:: len(batch)], alone)


@given(images, angle_lists, st.randoms(use_true_random=False))
def test_the_order_of_the_angles_is_the_order_of_the_classes(batch, angles, random):
    shuffled = random.sample(angles, len(angles))
    parts = dict(zip(angles, Rotate(angles)(batch)[0].split(len(batch)), strict=True))
    for angle, part in zip(shuffled, Rotate(shuffled)(batch)[0].split(len(batch)), strict=True):
        assert torch.equal(part, parts[angle])


@given(images, st.integers(-3600, 3600).map(lambda n: n // 45 * 45))
def test_a_rotation_by_360_degrees_changes_nothing(batch, angle):
    one, _ = Rotate([angle, angle + 90])(batch)
    other, _ = Rotate([angle + 360, angle + 450])(batch)
    assert torch.equal(one, other)


@given(stages, st.integers(1, 40))
def test_the_policies_none_and_backbone_freeze_nothing_and_everything(names, epoch):
    assert FreezeNothing().frozen(names, epoch) == frozenset()
    assert FreezeBackbone().frozen(names, epoch) == frozenset(names)


@given(stages, st.integers(1, 40), st.data())
def test_freeze_through_freezes_from_the_input_up_to_its_stage(names, epoch, data):
    last = data.draw(st.integers(0, len(names) - 1))
    assert FreezeThrough(names[last]).frozen(names, epoch) == frozenset(names[: last + 1])


@given(stages, st.integers(1, 10), st.integers(1, 40))
def test_gradual_unfreezing_never_freezes_again(names, every, epoch):
    policy = GradualUnfreezing(every)
    assert policy.frozen(names, epoch + 1) <= policy.frozen(names, epoch)


@given(stages, st.integers(1, 10), st.integers(1, 40))
def test_gradual_unfreezing_freezes_the_stages_nearest_the_input(names, every, epoch):
    frozen = GradualUnfreezing(every).frozen(names, epoch)
    assert frozen == frozenset(names[: len(frozen)])


def config(seed=0, angles=(), lr=0.1, labels=5, cut=None, downstream_lr=0.05):
    return {
        "seed": seed,
        "dataset": {"name": "x", "source": {}, "labels_per_class": labels, "val_fraction": 0.0},
        "model": {"width": 8, "weights": None, "cut": cut},
        "schedule": {"lr": downstream_lr},
        "pretext": {
            "_target_": f"ssl_rot.pretext.{'Rotation' if angles else 'NoPretext'}",
            "name": "rotation" if angles else "none",
            "angles": list(angles),
            "schedule": {"lr": lr},
            "reuse": True,
        },
    }


def keys(**options):
    return compute_run_keys(config(**options), data="d", arithmetic="fp32", weights=None)


seeds, rates = st.integers(0, 99), st.floats(0.001, 1)


@given(seeds, rates, rates)
def test_the_arms_of_a_comparison_share_a_pair_key(seed, lr, downstream_lr):
    rotation = keys(seed=seed, angles=RIGHT_ANGLES, lr=lr, downstream_lr=downstream_lr)
    supervised = keys(seed=seed, lr=0.7, downstream_lr=downstream_lr)
    assert rotation.pair == supervised.pair
    assert rotation.config != supervised.config
    assert supervised.pretext is None


@given(seeds, seeds, rates, rates)
def test_runs_pair_only_if_everything_but_the_pretext_is_equal(seed, other, lr, other_lr):
    one, two = keys(seed=seed, downstream_lr=lr), keys(seed=other, downstream_lr=other_lr)
    assert (one.pair == two.pair) == ((seed, lr) == (other, other_lr))


@given(seeds, st.integers(1, 9), st.integers(1, 9), rates, rates)
def test_a_pretext_is_shared_across_label_budgets_and_downstream_schedules(
    seed, k, other_k, lr, other_lr
):
    one = keys(seed=seed, angles=RIGHT_ANGLES, labels=k, downstream_lr=lr)
    two = keys(seed=seed, angles=RIGHT_ANGLES, labels=other_k, downstream_lr=other_lr, cut="stage1")
    assert one.pretext == two.pretext


@given(seeds, seeds, st.text(max_size=5), st.text(max_size=5))
def test_random_streams_differ_by_seed_and_name(seed, other, name, other_name):
    same = (seed, name) == (other, other_name)
    assert (derive(seed, name) == derive(other, other_name)) == same
