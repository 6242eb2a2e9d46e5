"""Each arm at its own best: what is chosen, from what, and what the choice may not see."""

from __future__ import annotations

import pytest

from ssl_rot.errors import ConfigError
from ssl_rot.report import compare, pair_runs, select_settings
from ssl_rot.report.comparison.tuned_settings import tuned_keys


def tried(runs, arm: str, seed: int, lr: str, val: float, test: float, **over):
    made = runs.downstream(arm, seed, test, schedule__lr=lr, schedule__optimizer__lr=lr, **over)
    made.metrics["val_acc"] = {runs.epochs: val}
    return made


@pytest.fixture
def grid(runs):
    """Two arms, three seeds, two learning rates; the test set would choose the other ones."""
    for seed in range(3):
        for arm, best in (("rotation", "0.1"), ("supervised", "0.02")):
            for lr in ("0.02", "0.1"):
                val, test = (0.8, 0.7) if lr == best else (0.7, 0.9)
                tried(runs, arm, seed, lr, val + 0.001 * seed, test)
    return runs


def test_the_choice_is_made_on_validation_accuracies_alone(grid) -> None:
    selection = select_settings(grid.frame(), ["schedule.lr"])
    chosen = selection.trials[selection.trials["is_chosen"]].set_index("arm")["setting"]
    assert chosen.to_dict() == {"rotation": "lr=0.1", "supervised": "lr=0.02"}
    (cell,) = compare(pair_runs(selection.runs)).to_dict("records")
    assert (cell["arm_chosen"], cell["reference_chosen"]) == ("lr=0.1", "lr=0.02")
    assert (cell["arm_mean"], cell["reference_mean"]) == pytest.approx((0.7, 0.7))
    assert (cell["arm_trials"], cell["reference_trials"], cell["n"]) == (2, 2, 3)
    assert "test" not in " ".join(selection.trials.columns)


def test_settings_that_vary_in_every_arm_are_found_by_their_shortest_key(grid) -> None:
    assert tuned_keys(grid.frame()) == ["schedule.lr"]


def test_without_validation_nothing_is_tuned_and_select_is_refused(runs) -> None:
    runs.arms([0.1, 0.2, 0.1], schedule__lr="0.02")
    runs.arms([0.1, 0.2, 0.1], schedule__lr="0.1")
    assert tuned_keys(runs.frame()) == []
    with pytest.raises(ConfigError, match=r"select=\[schedule.lr\] needs validation accuracies.*"
                       r"dataset.val_per_class=1"):  # fmt: skip
        select_settings(runs.frame(), ["schedule.lr"])


def test_a_setting_that_varies_in_one_arm_is_not_tuned(runs) -> None:
    for seed in range(3):
        tried(runs, "supervised", seed, "0.02", 0.8, 0.8)
        for lr in ("0.02", "0.1"):
            tried(runs, "rotation", seed, lr, 0.8, 0.8)
    assert tuned_keys(runs.frame()) == []


def test_each_budget_has_its_own_choice(runs) -> None:
    for seed in range(3):
        for labels, best in (("5", "0.1"), ("20", "0.02")):
            for lr in ("0.02", "0.1"):
                for arm in ("rotation", "supervised"):
                    val = 0.9 if lr == best else 0.5
                    tried(runs, arm, seed, lr, val, val, dataset__labels_per_class=labels)
    selection = select_settings(runs.frame(), ["schedule.lr"])
    cells = compare(pair_runs(selection.runs))
    assert cells["cell"].tolist() == ["labels_per_class=5", "labels_per_class=20"]
    assert cells["arm_chosen"].tolist() == ["lr=0.1", "lr=0.02"]


def test_an_option_is_chosen_with_all_that_follows_from_it(runs) -> None:
    options = {"none": "ssl_rot.freeze.FreezeNothing", "backbone": "ssl_rot.freeze.FreezeBackbone"}
    for seed in range(3):
        for freeze, target in options.items():
            for arm in ("rotation", "supervised"):
                val = 0.9 if (freeze == "backbone") == (arm == "rotation") else 0.5
                over = {"freeze": freeze, "freeze___target_": target}
                tried(runs, arm, seed, "0.1", val, val, **over)
    frame = runs.frame()
    assert tuned_keys(frame) == ["freeze"]
    (cell,) = compare(pair_runs(select_settings(frame, ["freeze"]).runs)).to_dict("records")
    assert (cell["arm_chosen"], cell["reference_chosen"]) == ("freeze=backbone", "freeze=none")


def test_settings_of_the_pretext_are_trials_of_its_arm_alone(runs) -> None:
    for seed in range(3):
        tried(runs, "supervised", seed, "0.1", 0.7, 0.7)
        for epochs, val in (("20", 0.7), ("40", 0.8)):
            tried(runs, "rotation", seed, "0.1", val, val, pretext__schedule__epochs=epochs)
    selection = select_settings(runs.frame(), ["pretext.schedule.epochs"])
    (cell,) = compare(pair_runs(selection.runs)).to_dict("records")
    assert cell["arm_chosen"] == "pretext.schedule.epochs=40"
    assert (cell["arm_trials"], cell["reference_trials"]) == (2, 1)
    assert cell["difference"] == pytest.approx(0.1)


def test_a_setting_that_loses_seeds_or_lacks_some_is_not_chosen_for_the_others(grid) -> None:
    for made in grid.made:  # the best setting of rotation diverges once
        if (made.tags["arm"], made.params["schedule.lr"], made.params["seed"]) == (
            *("rotation", "0.1", "2"),
        ):
            made.status = "FAILED"
    tried(grid, "rotation", 0, "0.5", 0.99, 0.99)  # one seed that went well
    trials = select_settings(grid.frame(), ["schedule.lr"]).trials.query("arm == 'rotation'")
    chosen = trials.set_index("setting")
    assert chosen["lost"].to_dict() == {"lr=0.02": 0, "lr=0.1": 1, "lr=0.5": 0}
    assert chosen.index[chosen["is_chosen"]].tolist() == ["lr=0.02"]


@pytest.mark.parametrize("status", ["KILLED", "FINISHED"])
def test_a_seed_that_was_interrupted_decides_nothing(grid, status) -> None:
    """The one run of a fourth seed once made its setting the only complete one."""
    before = select_settings(grid.frame(), ["schedule.lr"])
    tried(grid, "supervised", 3, "0.1", 0.1, 0.1).status = status
    after = select_settings(grid.frame(), ["schedule.lr"])
    assert after.trials.to_dict() == before.trials.to_dict()
    low, expected = (compare(pair_runs(each.runs))["low"].iloc[0] for each in (after, before))
    assert low == expected


def test_without_a_seed_that_all_have_the_setting_with_most_seeds_is_chosen(runs) -> None:
    for seed, lr in enumerate(("0.02", "0.5", "0.05")):  # other settings for every seed
        for arm in ("rotation", "supervised"):
            tried(runs, arm, seed, "0.1", 0.3, 0.5)
            tried(runs, arm, seed, lr, 0.9, 0.5)
    trials = select_settings(runs.frame(), ["schedule.lr"]).trials
    assert trials.query("is_chosen")["setting"].tolist() == ["lr=0.1", "lr=0.1"]


def test_of_settings_that_tie_the_smallest_is_chosen_in_whatever_order_they_ran(runs) -> None:
    # 0.1 + 0.2 + 0.3 and 0.3 + 0.2 + 0.1 differ in the last bit
    values = {"0.1": (0.1, 0.2, 0.3), "0.02": (0.3, 0.2, 0.1), "0.005": (0.0, 0.1, 0.2)}
    for seed in range(3):
        for arm in ("rotation", "supervised"):
            for lr, val in values.items():
                tried(runs, arm, seed, lr, val[seed], 0.5)
    frame = runs.frame()
    for ran in (frame, frame[::-1], frame.sample(frac=1, random_state=0)):
        trials = select_settings(ran, ["schedule.lr"]).trials
        assert trials.query("is_chosen")["setting"].tolist() == ["lr=0.02", "lr=0.02"]
        assert trials["setting"].tolist()[:3] == ["lr=0.005", "lr=0.02", "lr=0.1"]


def test_winners_on_other_data_are_no_partners(grid) -> None:
    frame = grid.frame()
    of_rotation = frame["tags.ssl_rot.arm"] == "rotation"
    for key in ("pair_key", "content_key"):
        frame.loc[of_rotation, f"tags.ssl_rot.{key}"] += " of other data"
    pairs = pair_runs(select_settings(frame, ["schedule.lr"]).runs)
    assert (pairs["left_out"] != "").all()


def test_code_of_a_pretext_does_not_separate_the_arms(grid) -> None:
    """It is part of the content key of one arm; the pair keys show that the data is the same."""
    frame = grid.frame()
    of_rotation = frame["tags.ssl_rot.arm"] == "rotation"
    frame.loc[of_rotation, "tags.ssl_rot.content_key"] += " with custom code"
    assert (pair_runs(select_settings(frame, ["schedule.lr"]).runs)["left_out"] == "").all()


def test_an_unknown_key_is_refused(grid) -> None:
    with pytest.raises(ConfigError, match=r"select=schedule.rl .*did you mean schedule.lr"):
        select_settings(grid.frame(), ["schedule.rl"])
