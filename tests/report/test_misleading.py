"""Data sets that mislead a plain comparison, and what a careful statistician would say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from ssl_rot.report import compare, pair_runs, select_settings
from ssl_rot.report.comparison.exclusions import exclude_incomplete_seeds
from ssl_rot.report.comparison.floors import add_floors
from ssl_rot.report.comparison.hits import RunHits
from ssl_rot.report.comparison.recalls import compare_recalls
from ssl_rot.report.comparison.tuned_settings import tuned_keys
from ssl_rot.report.page.figures import draw_figures
from ssl_rot.report.page.headline import write_headline
from ssl_rot.report.page.tuning import describe_tuning

IMAGES = 360
NOISE = np.array([0.0, 2.0, -1.0, 1.0, -2.0, 3.0, -3.0, 0.0]) / IMAGES


def ask(runs, *, tuned: bool = False, by=None, hits=None, **options) -> list[str]:
    """The answer in words."""
    frame = runs.frame()
    selection = select_settings(frame, tuned_keys(frame)) if tuned else None
    pairs = pair_runs(frame if selection is None else selection.runs, runs.histories())
    cells = compare(pairs, by, predictions=hits, **options)
    pairs = exclude_incomplete_seeds(pairs, by)
    cells = add_floors(cells, pairs, frame)
    recalls = compare_recalls(cells, pairs, hits or {})
    return write_headline(cells, recalls=recalls)


def guesses(accuracy: float, seed: int, classes: int = 10) -> RunHits:
    """Which of the test images a run with that accuracy gets right; easy images first."""
    rng = np.random.default_rng(seed)
    targets = np.arange(IMAGES) % classes
    hits = np.zeros(IMAGES, dtype=bool)
    hits[rng.permutation(IMAGES)[: round(accuracy * IMAGES)]] = True
    return RunHits(targets, hits)


def tune(runs, arm: str, lr: str, accuracy: float, seeds: int = 5) -> None:
    for seed in range(seeds):
        over = {"schedule__lr": lr, "schedule__optimizer__lr": lr}
        made = runs.downstream(
            arm, seed, accuracy + NOISE[seed] / (2 + (arm == "rotation")), **over
        )
        made.metrics["val_acc"] = {10: accuracy + NOISE[seed] / 4}


def test_a_shared_learning_rate_that_suits_one_arm(runs) -> None:
    """Both arms reach 80 % at their best, at different rates; at 0.1 rotation leads by 4."""
    for lr, rotation, supervised in (("0.1", 0.80, 0.76), ("0.02", 0.75, 0.80)):
        tune(runs, "rotation", lr, rotation)
        tune(runs, "supervised", lr, supervised)
    assert ask(runs, tuned=True)[:2] == [
        "Rotation makes no difference that matters.",
        "The difference is less than a point: +0.0 points [-0.1, +0.1] of test accuracy.",
    ]
    frame = runs.frame()
    assert describe_tuning(frame, select_settings(frame, ["schedule.lr"])) == (
        "Tuned: schedule.lr chosen for each arm and cell by the mean validation accuracy over "
        "seeds, among 2 settings of each arm. Test accuracy had no part in the choice."
    )


@pytest.mark.parametrize(
    ("over", "sentence"),
    [
        ({"dataset__val_per_class": "2"}, "are part of the label budget."),
        ({"dataset__val_fraction": "0.2"}, "come on top of the label budget."),
    ],
)
def test_it_is_said_whether_validation_images_are_in_the_label_budget(runs, over, sentence) -> None:
    for arm in ("supervised", "rotation"):
        for lr in ("0.1", "0.02"):
            runs.downstream(arm, 0, 0.5, schedule__lr=lr, **over).metrics["val_acc"] = {10: 0.5}
    frame = runs.frame()
    words = describe_tuning(frame, select_settings(frame, ["schedule.lr"]))
    assert words.endswith(f"no part in the choice. The validation images {sentence}")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (
            [],
            "Not tuned here: each arm has one setting of schedule.lr in each cell, and nothing was",
        ),
        (["0.5"], "among 1 to 2 rotation settings and 1 supervised-only setting."),
    ],
)
def test_settings_are_counted_in_each_cell(runs, more, words) -> None:
    """Arms at given settings that differ by budget once read as chosen among several."""
    for arm, rates in (("rotation", ("0.1", "0.02")), ("supervised", ("0.02", "0.1"))):
        for labels, lr in zip(("5", "20"), rates, strict=True):
            for each in [lr, *(more if (arm, labels) == ("rotation", "5") else [])]:
                run = runs.downstream(
                    arm, 0, 0.5, schedule__lr=each, dataset__labels_per_class=labels
                )
                run.metrics["val_acc"] = {10: 0.5}
    frame = runs.frame()
    assert words in describe_tuning(frame, select_settings(frame, ["schedule.lr"]))


def test_only_a_shared_learning_rate_is_called_not_tuned(runs) -> None:
    runs.arms([0.04, 0.05, 0.045, 0.05], schedule__lr="0.1")
    assert describe_tuning(runs.frame(), None) == "Not tuned: both arms at schedule.lr=0.1."


def test_arms_that_were_tuned_apart(runs) -> None:
    """No two runs have the same learning rate, so none are partners at equal settings."""
    for arm, lr, accuracy in (
        *(("rotation", "0.2", 0.85), ("rotation", "0.4", 0.7)),
        *(("supervised", "0.01", 0.7), ("supervised", "0.02", 0.8), ("supervised", "0.04", 0.79)),
    ):
        tune(runs, arm, lr, accuracy)
    assert (pair_runs(runs.frame())["left_out"] != "").all()
    assert ask(runs, tuned=True) == [
        "Use rotation.",
        "Rotation gains 5.0 points [4.9, 5.1] of test accuracy over 5 seeds.",
        "Rotation was tuned over 2 settings and supervised-only over 3: the arm with more trials "
        "has a better chance of finding a good one.",
    ]


def test_the_seeds_that_diverged_count(runs) -> None:
    """Of the five that survived, rotation is ahead by 3.1; -17 with the lost ones at chance."""
    hits = {}
    for seed in range(8):
        supervised = runs.downstream("supervised", seed, 180 / IMAGES)
        hits[supervised.run_id] = guesses(180 / IMAGES, seed)
        accuracy = (191 + seed % 2) / IMAGES
        status = "FINISHED" if seed < 5 else "FAILED"
        rotation = runs.downstream("rotation", seed, accuracy, status=status)
        hits[rotation.run_id] = guesses(accuracy, seed)
        if seed >= 5:
            rotation.tags["error"] = "NonFiniteLoss: downstream, epoch 3"
    words = ask(runs, hits=hits)
    assert words[0] == "These runs do not settle whether rotation helps."
    assert words[2] == (
        "3 of 8 rotation runs diverged; with each of them at chance the difference is "
        "-13.0 points, so the finished runs alone do not settle it."
    )


def test_a_cell_in_which_every_run_diverged_is_named_and_breaks_nothing(runs) -> None:
    for seed in range(3):
        for arm in ("rotation", "supervised"):
            bad = runs.downstream(arm, seed, 0.5, status="FAILED", schedule__lr="1e30")
            bad.tags["error"] = "NonFiniteLoss: downstream, epoch 1"
    runs.arms([0.1, 0.12, 0.11], schedule__lr="0.1")
    words = ask(runs)
    assert words[0] == "Use rotation."
    assert words[2] == (
        "3 of 3 rotation runs diverged, 3 of 3 supervised-only runs diverged at lr=1e30."
    )
    pairs = pair_runs(runs.frame(), runs.histories())
    cells = compare(pairs)
    assert cells["cell"].tolist() == ["lr=0.1", "lr=1e30"]
    figures = draw_figures(cells, pairs, {})
    assert {"forest", "cost"} == {figure.name for figure in figures} - {"pretext"}


def test_a_lost_run_is_forgiven_once_it_succeeds(runs) -> None:
    runs.arms([0.1, 0.12, 0.11])
    runs.downstream("supervised", 3, 0.5)
    runs.downstream("rotation", 3, 0.0, status="FAILED")
    runs.downstream("rotation", 3, 0.61)
    pairs = pair_runs(runs.frame())
    assert not pairs["is_lost"].any()
    assert compare(pairs)["n"].tolist() == [4]


def test_one_lost_seed_of_twelve_does_not_overrule(runs) -> None:
    runs.arms([0.10, 0.12, 0.11, 0.10, 0.12, 0.11, 0.10, 0.12, 0.11, 0.10, 0.12])
    runs.downstream("supervised", 11, 0.5)
    runs.downstream("rotation", 11, 0.0, status="KILLED")
    words = ask(runs)
    assert words[0] == "Use rotation."
    assert any(sentence.startswith("1 of 12 rotation runs was killed") for sentence in words)


@pytest.mark.parametrize("images", [[36, 36], [36, 37]])
def test_two_seeds_that_agree_to_the_image_are_too_few(runs, images) -> None:
    for seed, count in enumerate(images):
        runs.downstream("supervised", seed, 300 / IMAGES)
        runs.downstream("rotation", seed, (300 + count) / IMAGES)
    assert ask(runs)[0] == "There are too few seeds to say whether rotation helps."


def test_one_pair_is_judged_by_its_test_images_alone(runs) -> None:
    """McNemar's test: 20 images against 5, of the two networks and not of the next seed."""
    ids = [runs.downstream(arm, 0, 0.5).run_id for arm in ("supervised", "rotation")]
    targets = np.arange(IMAGES) % 10
    theirs, ours = (np.zeros(IMAGES, dtype=bool) for _ in range(2))
    theirs[:5], ours[5:25] = True, True
    hits = dict(zip(ids, (RunHits(targets, theirs), RunHits(targets, ours)), strict=True))
    (cell,) = compare(pair_runs(runs.frame()), predictions=hits).to_dict("records")
    assert cell["verdict"] == "not enough runs"
    p = binomtest(5, 25).pvalue
    assert cell["p_mcnemar_holm"] == pytest.approx(p)
    assert cell["basis"] == (
        "1 seed; a verdict takes at least 3, better five or more; of these two networks, over the "
        f"test images: McNemar p = {p:.2g}"
    )


def test_no_number_of_seeds_makes_up_for_too_few_test_images(runs) -> None:
    hits = {}
    for seed in range(6):
        for arm, accuracy in (("supervised", 0.70), ("rotation", 0.71)):
            run_id = runs.downstream(arm, seed, accuracy).run_id
            hits[run_id] = guesses(accuracy, 100 + (arm == "rotation"))  # the same images each time
    assert ask(runs, hits=hits)[1].endswith(
        ". With these test images, no number of seeds would find a difference of a point."
    )


def test_several_arms_with_too_few_seeds_get_one_sentence(runs) -> None:
    for seed in range(2):
        for arm in ("supervised", "rotation", "simclr"):
            runs.downstream(arm, seed, 0.5)
    assert ask(runs) == ["There are too few seeds for a verdict on any arm; it takes three."]


def test_the_spread_of_seeds_that_agree_is_at_least_one_test_image(runs) -> None:
    runs.arms([36 / IMAGES] * 3, base=301 / IMAGES)
    cell = compare(pair_runs(runs.frame())).iloc[0]
    assert cell["high"] - cell["low"] == pytest.approx(2 * 4.3027 / IMAGES / np.sqrt(3), rel=1e-4)


def test_unbalanced_settings_are_not_averaged(runs) -> None:
    """The seeds of the setting with the large gain would weigh more."""
    runs.arms([0.30, 0.31, 0.29, 0.30, 0.32, 0.30], freeze="backbone", freeze___target_="Frozen")
    runs.arms([-0.02, -0.01, -0.03], freeze="none")
    words = ask(runs, by=["model"])
    cell = compare(pair_runs(runs.frame()), ["model"]).iloc[0]
    assert (cell["n"], cell["pairs"]) == (3, 6)
    assert words[1].startswith("Rotation gains 14.0 points")  # half of 30 less 2


def test_a_rare_collapse_is_no_equivalence(runs) -> None:
    """Nineteen seeds gain 2 points, one loses 38: the mean is zero, and equal is the wrong word."""
    runs.arms([0.02 + 0.002 * NOISE[seed % 8] for seed in range(19)] + [-0.38])
    words = ask(runs)
    assert words[0] == "These runs do not settle whether rotation helps."
    assert "Seeds differ widely: rotation is better in 19 of 20" in " ".join(words)


def test_a_small_class_is_seen(runs) -> None:
    """Class 1 has 5 % of the images and gains 50 points; overall that is 2.5."""
    targets = (np.arange(400) >= 380).astype(int)
    hits = {}
    for seed in range(6):
        rng = np.random.default_rng(seed)
        base = np.where(targets == 1, np.arange(400) % 2 == 0, rng.permutation(400) < 320)
        for arm, right in (("supervised", base), ("rotation", base | (targets == 1))):
            made = runs.downstream(arm, seed, right.mean())
            hits[made.run_id] = RunHits(targets, right)
    words = ask(runs, hits=hits)
    assert any(
        sentence.startswith("Class 1, 5 % of the test images, changes by +50.0 points [")
        for sentence in words
    )
    pairs = pair_runs(runs.frame())
    table = compare_recalls(compare(pairs, predictions=hits), pairs, hits)
    assert table["difference"].tolist() == pytest.approx([0.0, 0.5])


def test_a_floor_that_both_arms_stay_below_is_named(runs) -> None:
    runs.arms([0.05, 0.06, 0.07, 0.05])
    assert write_headline(_with_floors(runs, knn=0.64, linear=0.53))[2:] == [
        "1-NN on the pixels is ahead of both arms, at 64.0 %.",
        "A linear model of the pixels is ahead of supervised-only, at 53.0 %.",
    ]


def test_a_floor_is_held_against_all_arms_at_once(runs) -> None:
    """Not once per contrast, each of which has supervised-only in it."""
    runs.arms([0.05, 0.06, 0.07, 0.05])
    for seed in range(4):
        runs.downstream("rotation_8", seed, 0.58 + 0.002 * seed)
        runs.downstream("simclr", seed, 0.48 + 0.002 * seed)
    assert write_headline(_with_floors(runs, knn=0.64, linear=0.53))[-2:] == [
        "1-NN on the pixels is ahead of all 4 arms, at 64.0 %.",
        "A linear model of the pixels is ahead of supervised-only and simclr, at 53.0 %.",
    ]


@pytest.mark.parametrize("others", [(), ("simclr",)])
def test_at_equal_images_the_arms_are_named_if_there_are_several(runs, others) -> None:
    for seed in range(4):
        for arm in ("rotation", *others):
            pretext = runs.pretext(seed, images=200, pretext=arm)
            runs.downstream(arm, seed, 0.8 + 0.002 * seed, after=pretext, epochs=100)
        runs.downstream("supervised", seed, 0.4, epochs=100)
        runs.downstream("supervised", seed, 0.6, epochs=104, schedule__epochs="104")
    subjects = (
        [f"{arm} minus supervised-only" for arm in ("rotation", *others)] if others else ["it"]
    )
    sentences = [words for words in ask(runs) if "equal number" in words]
    assert len(sentences) == len(subjects)
    for words, subject in zip(sentences, subjects, strict=True):
        assert words.startswith(
            f"At an equal number of images, pretext included, {subject} is +20.3 points ["
        )


def _with_floors(runs, knn: float, linear: float) -> pd.DataFrame:
    for made in runs.made:
        made.tags["floor_key"] = f"seed {made.params['seed']}"
    floors = pd.DataFrame(
        {
            "run_id": [f"floor{seed}" for seed in range(4)],
            "status": "FINISHED",
            "tags.ssl_rot.phase": "floor",
            "tags.ssl_rot.floor_key": [f"seed {seed}" for seed in range(4)],
            "metrics.floor/knn_acc": knn,
            "metrics.floor/linear_acc": linear,
        }
    )
    frame = pd.concat([runs.frame(), floors], ignore_index=True)
    pairs = pair_runs(frame)
    return add_floors(compare(pairs), pairs, frame)


def test_a_frozen_random_network_is_a_floor_and_not_in_the_headline(runs) -> None:
    frozen = {"freeze": "backbone", "freeze___target_": "ssl_rot.freeze.FreezeBackbone"}
    runs.arms([0.30, 0.31, 0.29, 0.30], base=0.11, **frozen)
    runs.arms([0.03, 0.031, 0.029, 0.03], base=0.78)
    words = ask(runs)
    assert words[:2] == [
        "Use rotation.",
        "Rotation gains 3.0 points [2.8, 3.2] of test accuracy over 4 seeds.",
    ]


def test_until_the_planned_seeds_are_there_the_answer_is_interim(runs) -> None:
    runs.arms([0.10, 0.12, 0.11])
    pairs = pair_runs(runs.frame())
    cells = add_floors(compare(pairs), pairs, runs.frame())
    assert write_headline(cells, planned_seeds=5)[0] == (
        "Interim, after 3 seeds of 5 planned: Use rotation."
    )
    assert write_headline(cells, planned_seeds=3)[0] == "Use rotation."


def test_seeds_that_share_a_pre_training_are_averaged_first(runs) -> None:
    """Six seeds on three pre-training runs are three independent observations."""
    for seed, gain in enumerate([0.10, 0.12, 0.02, 0.04, 0.06, 0.08]):
        runs.downstream("rotation", seed, 0.5 + gain, pretext__seed=str(seed // 2))
        runs.downstream("supervised", seed, 0.5, pretext__seed=str(seed // 2))
    (cell,) = compare(pair_runs(runs.frame())).to_dict("records")
    assert (cell["n"], cell["seeds"], cell["unit"]) == (3, 6, "pre-training")
    assert cell["difference"] == pytest.approx(0.07)
    assert cell["arm_sd"] == pytest.approx(0.04)


def test_pre_trainings_that_share_their_seeds_do_not_hide_the_spread_of_the_seeds(runs) -> None:
    """Six pre-training runs that meet the same three label subsets: three observations, not six."""
    for pretext in range(6):
        for seed, gain in enumerate([0.20, 0.02, -0.06]):
            gained = 0.5 + gain + 0.001 * pretext
            runs.downstream("rotation", seed, gained, pretext__seed=str(pretext))
    for seed in range(3):
        runs.downstream("supervised", seed, 0.5)
    (cell,) = compare(pair_runs(runs.frame())).to_dict("records")
    assert (cell["n"], cell["unit"], cell["pairs"]) == (3, "seed", 18)
    assert cell["verdict"] == "undecided"
    assert cell["low"] < -0.2
    assert cell["high"] > 0.3
    assert cell["p_sign_flip"] > 0.2


def test_one_seed_of_many_pre_trainings_is_one_observation_of_labels(runs) -> None:
    for pretext in range(6):
        runs.downstream("rotation", 0, 0.6 + 0.001 * pretext, pretext__seed=str(pretext))
    runs.downstream("supervised", 0, 0.5)
    (cell,) = compare(pair_runs(runs.frame())).to_dict("records")
    assert (cell["n"], cell["verdict"]) == (1, "not enough runs")
