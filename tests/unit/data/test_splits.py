"""Stratified, nested choices, decided by the seed alone."""

from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from ssl_rot.data.splits import fixed_split, rank_in_class, stratified_order
from ssl_rot.seeding import generator

labels_of = st.lists(st.integers(0, 4), min_size=1, max_size=80).map(torch.tensor)
seeds = st.integers(0, 2**31)


@given(labels_of, seeds, st.integers(1, 20))
def test_ranks_below_k_are_k_of_each_class(labels, seed, k):
    chosen = rank_in_class(labels, generator(seed)) < k
    for label in labels.unique():
        assert chosen[labels == label].sum() == min(k, int((labels == label).sum()))


@given(labels_of, seeds)
def test_an_order_is_a_permutation_decided_by_the_generator(labels, seed):
    order = stratified_order(labels, generator(seed))
    assert sorted(order.tolist()) == list(range(len(labels)))
    assert torch.equal(order, stratified_order(labels, generator(seed)))


@given(st.integers(1, 5), st.integers(1, 20), seeds)
def test_every_prefix_of_balanced_classes_is_balanced_to_one_sample(classes, per_class, seed):
    labels = torch.arange(classes * per_class) % classes
    ordered = labels[stratified_order(labels, generator(seed))]
    for size in range(1, len(labels) + 1):
        counts = torch.bincount(ordered[:size], minlength=classes)
        assert counts.max() - counts.min() <= 1


@given(labels_of, seeds)
def test_every_prefix_is_near_the_proportions(labels, seed):
    sizes = torch.bincount(labels)
    ordered = labels[stratified_order(labels, generator(seed))]
    for size in range(1, len(labels) + 1):
        counts = torch.bincount(ordered[:size], minlength=len(sizes))
        share = size * sizes / len(labels)
        # The method keeps each class within half a sample of one common share of all classes.
        assert (counts - share).abs().max() <= 0.5 + len(sizes) / 2


def test_which_samples_are_chosen_differs_between_seeds():
    labels = torch.arange(1000) % 10
    orders = [stratified_order(labels, generator(seed))[:100].sort().values for seed in range(5)]
    assert len({tuple(order.tolist()) for order in orders}) == 5


def test_no_class_is_favored_by_its_number():
    labels = torch.arange(100) // 10  # as folders are listed, class by class
    first = {int(labels[stratified_order(labels, generator(seed))[0]]) for seed in range(100)}
    assert first == set(range(10))


@given(labels_of, st.floats(0.01, 0.99))
def test_the_fixed_split_is_disjoint_and_complete(labels, fraction):
    train, test = fixed_split(labels, fraction)
    assert sorted(train.tolist() + test.tolist()) == list(range(len(labels)))
    assert len(test) == math.ceil(fraction * len(labels))


def test_seats_are_at_the_middle_of_each_share():
    """Half a seat: without it a class of one image would tie with the largest for the first."""
    labels = torch.tensor([0] * 9 + [1])
    for seed in range(20):
        order = stratified_order(labels, torch.Generator().manual_seed(seed))
        assert labels[order[:4]].tolist() == [0, 0, 0, 0]
        assert labels[order].tolist().index(1) in (4, 5)
