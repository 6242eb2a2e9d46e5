"""What a comparison cost, where a slip would be silent."""

from __future__ import annotations

import numpy as np
import pytest

from ssl_rot.report import compare, pair_runs


@pytest.mark.parametrize("order", [(103, 104, 105), (105, 104, 103), (104, 105, 103)])
def test_of_several_rivals_at_their_ends_the_nearest_in_images_is_taken(runs, order):
    pretext = runs.pretext(0, images=200)
    runs.downstream("rotation", 0, 0.8, after=pretext, epochs=100)  # 200 + 5,000 images
    runs.downstream("supervised", 0, 0.4, epochs=100)
    rivals = {
        epochs: runs.downstream("supervised", 0, 0.6, epochs=epochs, schedule__epochs=str(epochs))
        for epochs in order  # 50 images each: all three are within 2 % of 5,200
    }
    (pair,) = pair_runs(runs.frame(), runs.histories()).query("left_out == ''").to_dict("records")
    assert pair["equal_images_run_id"] == rivals[104].run_id
    assert pair["equal_images"] == 5200


def test_a_reference_with_matched_images_is_a_rival_at_equal_images(runs):
    pretext = runs.pretext(0, images=200)
    runs.downstream("rotation", 0, 0.8, after=pretext, epochs=100)
    runs.downstream("supervised", 0, 0.4, epochs=100)
    matched = {"schedule__match_images": "true", "schedule__matched_samples": "200"}
    rival = runs.downstream("supervised", 0, 0.6, epochs=104, **matched)
    (pair,) = pair_runs(runs.frame(), runs.histories()).query("left_out == ''").to_dict("records")
    assert pair["equal_images_run_id"] == rival.run_id
    assert pair["equal_images_difference"] == pytest.approx(0.2)


def test_a_partner_is_matched_at_its_last_epoch_and_not_at_its_best(runs):
    runs.downstream("rotation", 0, 0.8)  # 0.08 an epoch
    partner = runs.downstream("supervised", 0, 0.4)
    partner.metrics["test_acc"] = {epoch: 0.9 - 0.05 * epoch for epoch in range(1, 11)}
    (pair,) = pair_runs(runs.frame(), runs.histories()).query("left_out == ''").to_dict("records")
    assert pair["epochs_to_match"] == 5  # 0.4, what the partner ended with


def test_a_shared_pretext_is_divided_by_the_runs_that_started_from_it(runs):
    """Three seeds, and two budgets that share the pre-training of each."""
    for seed in range(3):
        pretext = runs.pretext(seed, images=4000)
        for labels in ("1", "5"):
            runs.downstream("rotation", seed, 0.8, after=pretext, dataset__labels_per_class=labels)
            runs.downstream("supervised", seed, 0.4, dataset__labels_per_class=labels)
    cells = compare(pair_runs(runs.frame(), runs.histories()))
    assert list(cells["n"]) == [3, 3]
    assert list(cells["pretext_images"]) == [4000, 4000]
    assert list(cells["pretext_images_shared"]) == [2000, 2000]


@pytest.mark.parametrize("shuffle", range(4))
def test_the_latest_run_counts_in_whatever_order_the_store_lists_them(runs, shuffle):
    runs.downstream("rotation", 0, 0.5)
    runs.downstream("supervised", 0, 0.4)
    runs.downstream("rotation", 0, 0.9)
    frame = runs.frame()
    order = np.random.default_rng(shuffle).permutation(len(frame))
    pairs = pair_runs(frame.iloc[order].reset_index(drop=True)).query("left_out == ''")
    assert list(pairs["arm_value"]) == [0.9]
