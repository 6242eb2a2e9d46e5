"""Validation split, train size and label budget; rule 3 of a fair comparison."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ssl_rot.data import Augment, Images, Split, budget, measure
from ssl_rot.errors import DataError

# Examples may share these fixtures: they are stateless factories.
shared = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40
)
seeds = st.integers(0, 2**31)
ten_of_each = [0, 1, 2] * 10


@shared
@given(seeds, st.integers(1, 9), st.integers(1, 10))
def test_label_budgets_are_stratified_nested_and_seeded(prepared, numbers_of, seed, small, large):
    small, large = sorted((small, large))
    a = prepared(ten_of_each, seed=seed, labels_per_class=small)
    b = prepared(ten_of_each, seed=seed, labels_per_class=large)
    assert a.train.labels.bincount().tolist() == [small] * 3
    assert set(numbers_of(a.train.images)) <= set(numbers_of(b.train.images))
    again = prepared(ten_of_each, seed=seed, labels_per_class=small)
    assert numbers_of(again.train.images) == numbers_of(a.train.images)


@pytest.mark.parametrize(
    ("options", "chosen"),
    [
        ({"labels_per_class": 2}, lambda data: data.train.images),
        ({"train_size": 6}, lambda data: data.pretext_images),
        ({"val_fraction": 0.2}, lambda data: data.val.images),
    ],
)
def test_another_seed_selects_other_images(prepared, numbers_of, options, chosen):
    per_seed = [prepared(ten_of_each, seed=seed, **options) for seed in range(5)]
    assert len({tuple(numbers_of(chosen(data))) for data in per_seed}) == 5


@shared
@given(seeds, st.sampled_from([0.0, 0.1, 0.3]), st.sampled_from([None, 6, 20]))
def test_images_keep_their_labels(prepared, numbers_of, seed, val_fraction, train_size):
    data = prepared(ten_of_each, seed=seed, val_fraction=val_fraction, train_size=train_size)
    for split in (data.train, *([data.val] if data.val else [])):
        assert split.labels.tolist() == [ten_of_each[n] for n in numbers_of(split.images)]


@shared
@given(seeds, st.sampled_from([None, 1, 4]), st.sampled_from([0.0, 0.1, 0.3]))
def test_the_pretext_task_uses_every_training_image_whatever_the_budget(
    prepared, numbers_of, seed, budget, val_fraction
):
    data = prepared(ten_of_each, seed=seed, labels_per_class=budget, val_fraction=val_fraction)
    val = set(numbers_of(data.val.images)) if data.val else set()
    # No test images, which are numbered from 60,000, and no validation images.
    assert set(numbers_of(data.pretext_images)) == set(range(30)) - val
    assert set(numbers_of(data.train.images)).isdisjoint(val)


@shared
@given(seeds, st.sampled_from([None, 1, 3]))
def test_the_validation_split_does_not_depend_on_the_budget(prepared, numbers_of, seed, budget):
    data = prepared(ten_of_each, seed=seed, val_fraction=0.2, labels_per_class=budget)
    free = prepared(ten_of_each, seed=seed, val_fraction=0.2, train_size=15)
    assert data.val.labels.bincount().tolist() == [2, 2, 2]
    assert numbers_of(data.val.images) == numbers_of(free.val.images)


@shared
@given(seeds, st.integers(1, 4), st.integers(5, 9), st.sampled_from([5, 9, 10, None]))
def test_validation_images_may_be_taken_out_of_the_budget(
    prepared, numbers_of, seed, held_out, small, large
):
    small, large = (
        prepared(ten_of_each, seed=seed, labels_per_class=budget, val_per_class=held_out)
        for budget in sorted((small, large or 10))
    )
    assert large.val.labels.bincount().tolist() == [held_out] * 3
    assert numbers_of(large.val.images) == numbers_of(small.val.images)
    assert set(numbers_of(small.train.images)) <= set(numbers_of(large.train.images))
    budget = len(small.train) // 3 + held_out
    whole = prepared(ten_of_each, seed=seed, labels_per_class=budget)
    parts = numbers_of(small.train.images) + numbers_of(small.val.images)
    assert sorted(parts) == sorted(numbers_of(whole.train.images))  # so none is in both
    for split in (small.train, small.val):
        assert split.labels.tolist() == [ten_of_each[n] for n in numbers_of(split.images)]
    # The pretext task knows no labels, and trains on all images.
    assert len(small.pretext_images) == 30


def test_the_pretext_is_not_evaluated_on_images_that_it_trains_on(prepared):
    in_budget, on_top = (
        prepared(ten_of_each, **options)
        for options in ({"val_per_class": 2}, {"val_fraction": 0.2})
    )
    assert set(in_budget.held_out) == set(on_top.held_out) == {"test", "val"}
    assert set(in_budget.held_out_from_pretext) == {"test"}
    assert set(on_top.held_out_from_pretext) == {"test", "val"}


UNEQUAL = [0] * 400 + [1] * 30 + [2] * 7


@shared
@given(seeds, st.floats(0.001, 0.999), st.floats(0.001, 0.999))
def test_a_fraction_of_the_labels_is_stratified_nested_and_seeded(
    prepared, numbers_of, seed, small, large
):
    small, large = sorted((small, large))
    a, b = (
        prepared(UNEQUAL, seed=seed, label_fraction=fraction, val_fraction=0.0)
        for fraction in (small, large)
    )
    expected = [max(1, round(small * count)) for count in (400, 30, 7)]
    assert a.train.labels.bincount().tolist() == expected
    assert set(numbers_of(a.train.images)) <= set(numbers_of(b.train.images))
    again = prepared(UNEQUAL, seed=seed, label_fraction=small)
    assert numbers_of(again.train.images) == numbers_of(a.train.images)
    assert len(a.pretext_images) == len(UNEQUAL)


def test_a_fraction_is_of_the_labels_that_the_class_has_left(prepared):
    data = prepared([*UNEQUAL, *[-1] * 100], label_fraction=0.1, val_fraction=0.5)
    assert data.train.labels.bincount().tolist() == [20, 2, 1]  # of 200, 15 and 3 or 4


def test_another_seed_draws_another_fraction(prepared, numbers_of):
    drawn = [prepared(UNEQUAL, seed=s, label_fraction=0.05).train.images for s in range(5)]
    assert len({tuple(numbers_of(images)) for images in drawn}) == 5


@shared
@given(seeds, st.integers(1, 500), st.integers(1, 500))
def test_a_class_with_too_few_labels_gives_all_it_has(prepared, numbers_of, seed, small, large):
    small, large = sorted((small, large))
    a, b = (prepared(UNEQUAL, seed=seed, labels_per_class=count) for count in (small, large))
    assert a.train.labels.bincount().tolist() == [min(small, n) for n in (400, 30, 7)]
    assert set(numbers_of(a.train.images)) <= set(numbers_of(b.train.images))


def test_classes_with_too_few_labels_are_named_and_counted(prepared, caplog):
    budget._warn_once.cache_clear()
    for _ in range(2):
        data = prepared(UNEQUAL, labels_per_class=50, val_per_class=2)
    assert [record.getMessage() for record in caplog.records] == [
        "dataset.labels_per_class=50: these classes have fewer labeled training images, all of "
        "which are used: 'class 1' 30, 'class 2' 7. The run uses 87 labels in all."
    ]
    counted = "87 (6 of them for validation, all there are of 'class 1' 30, 'class 2' 7)"
    assert data.count_labels() == counted
    assert prepared(UNEQUAL, labels_per_class=7).count_labels() == "21"
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("options", "counted"),
    [
        ({}, "30"),
        ({"labels_per_class": 5}, "15"),
        ({"label_fraction": 0.1}, "3"),
        ({"labels_per_class": 5, "val_per_class": 2}, "15 (6 of them for validation)"),
        ({"val_per_class": 2}, "30 (6 of them for validation)"),
        ({"labels_per_class": 5, "val_fraction": 0.2}, "15 (and another 6 for validation)"),
    ],
)
def test_validation_images_count_as_labels(prepared, options, counted):
    assert prepared(ten_of_each, **options).count_labels() == counted


@shared
@given(seeds, st.integers(3, 30), st.integers(3, 30))
def test_train_size_limits_both_phases_and_is_nested(prepared, numbers_of, seed, small, large):
    small, large = sorted((small, large))
    a, b = (prepared(ten_of_each, seed=seed, train_size=size) for size in (small, large))
    assert len(a.pretext_images) == len(a.train) == small
    assert set(numbers_of(a.pretext_images)) <= set(numbers_of(b.pretext_images))
    counts = a.train.labels.bincount(minlength=3)
    assert counts.max() - counts.min() <= 1


def test_unlabeled_images_are_for_the_pretext_task_only(prepared, numbers_of):
    labels = [0, 1] * 5 + [-1] * 100
    data = prepared(labels, val_fraction=0.2)
    assert data.val.labels.bincount().tolist() == [1, 1]
    assert len(data.train) == 8
    assert (data.train.labels >= 0).all()
    assert len(data.pretext_images) == 108
    sized = prepared(labels, train_size=22)
    assert (len(sized.train), len(sized.pretext_images)) == (2, 22)


def test_nothing_is_copied(make_source, prepared):
    source = make_source(ten_of_each)
    data = prepared(ten_of_each, source=source, labels_per_class=2, val_fraction=0.1)
    views = [data.train.images, data.val.images, data.pretext_images]
    assert {view.base.data_ptr() for view in views} == {source.train.images.base.data_ptr()}


@pytest.mark.parametrize(
    ("labels", "changes", "message"),
    [
        ([0, 2], {}, r"labels_per_class=null: class 'class 1' has 0 "),
        ([0, 2], {"label_fraction": 0.5}, r"label_fraction=0.5: class 'class 1' has 0 "),
        (
            [0] * 9 + [1] * 4,
            {"label_fraction": 0.5, "val_per_class": 2},
            "class 1' has 4 labeled .* 2 of which are in the budget. It needs at least 3: ",
        ),
        ([0, 1] * 5, {"val_per_class": 5}, "class 0' has 5 labeled .* It needs at least 6: "),
        ([0, 1] * 5, {"train_size": 11}, r"dataset.train_size=11: must be between 1 and 10"),
        ([0, 1] * 5, {"train_size": 9, "val_fraction": 0.2}, "between 1 and 8"),
        ([0, 1] * 5, {"train_size": 1}, "labels_per_class=null: class .* has 0"),
        ([0, 1] * 5, {"val_fraction": 0.01}, r"val_fraction=0.01 selects 0 of 10"),
        ([0, 1] * 5, {"val_fraction": 0.99}, r"val_fraction=0.99 selects 10 of 10"),
        ([0, 1] * 5, {"mean": [0.1, 0.2]}, r"dataset.mean=\[0.1, 0.2\]: must have 1 values"),
        ([0, 1] * 5, {"std": [0.1, 0.2, 0.3]}, r"dataset.std=.*must have 1 values"),
    ],
)
def test_impossible_requests_are_rejected(prepared, labels, changes, message):
    with pytest.raises(DataError, match=message):
        prepared(labels, **changes)


def test_given_statistics_are_kept_and_missing_ones_measured(prepared):
    data = prepared(ten_of_each, mean=[0.25])
    assert data.mean == (0.25,)
    assert data.std == measure(data.pretext_images)[1]


def test_statistics_do_not_depend_on_split_size_or_budget(prepared):
    whole = prepared(ten_of_each)
    part = prepared(ten_of_each, seed=3, train_size=9, val_fraction=0.2, labels_per_class=1)
    assert (part.mean, part.std) == (whole.mean, whole.std)


def test_a_policy_for_images_of_other_channels_is_refused(prepared, make_source):
    source = make_source(ten_of_each)
    images = source.train.images[torch.arange(len(ten_of_each))]
    two = Split(Images(images.repeat(1, 2, 1, 1)), source.train.labels)
    assert two.images.shape[1] == 2 * images.shape[1]
    wide = replace(source, train=two, test=two, statistics=None)
    augment = Augment(crop_padding=0, flip=False, policy="rand")
    with pytest.raises(DataError, match=r"augment\.policy=rand: the images have 2 channels"):
        prepared(ten_of_each, source=wide, augment=augment)
