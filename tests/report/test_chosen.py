"""Which run's model is registered, and when none is."""

from __future__ import annotations

import pytest

from ssl_rot.deploy.chosen import choose_by_validation, choose_by_verdict
from ssl_rot.errors import UserError
from ssl_rot.report.analysis import Question, answer
from ssl_rot.report.load.runs import load_runs


def make(runs, arm, differences, *, val=None, **over):
    """A run for each seed; the ``val`` of seed s is that plus a hundredth of s."""
    for seed, difference in enumerate(differences):
        run = runs.downstream(arm, seed, 0.5 + difference, **over)
        if val is not None:
            run.metrics["val_acc"] = {runs.epochs: val + 0.01 * seed}


@pytest.fixture
def report(runs, store_uri):
    def made(**question):
        runs.write(store_uri)
        return answer(load_runs(uri=store_uri), Question(**question), "all", "command")

    return made


def name_of(runs, chosen):
    (made,) = (made for made in runs.made if made.run_id == chosen.run_id)
    return made.name, made.params["schedule.lr"]


GAIN, NO_GAIN, UNCLEAR = [0.1, 0.12, 0.11], [0.0, 0.0, 0.0], [0.1, -0.1, 0.02]


@pytest.mark.parametrize(
    ("gain", "arm", "verdict"),
    [
        (GAIN, "rotation", "rotation better"),
        ([-0.1, -0.12, -0.11], "supervised", "supervised-only better"),
        ([0.001, -0.001, 0.0005], "supervised", "equivalent"),
    ],
)
def test_the_verdict_chooses_the_arm_and_no_test_accuracy_the_seed(
    runs, report, gain, arm, verdict
):
    make(runs, "rotation", gain)
    make(runs, "supervised", NO_GAIN)
    chosen = choose_by_verdict(report(), None, anyway=False)
    assert name_of(runs, chosen)[0] == f"{arm}-digits-seed0"
    assert "the lowest seed" in chosen.reason
    assert chosen.tags["ssl_rot.arm"] == arm
    assert chosen.tags["ssl_rot.verdict"] == verdict


def test_the_validation_split_chooses_setting_and_seed(runs, report):
    for arm, gain in (("rotation", GAIN), ("supervised", NO_GAIN)):
        make(runs, arm, gain, val=0.6, schedule__lr="0.1", schedule__optimizer__lr="0.1")
        better_on_test = [value + 0.2 for value in gain]
        make(runs, arm, better_on_test, val=0.5, schedule__lr="1", schedule__optimizer__lr="1")
    chosen = choose_by_verdict(report(), None, anyway=False)
    assert name_of(runs, chosen) == ("rotation-digits-seed2", "0.1")
    assert chosen.reason == (
        "rotation, seed 2 (validation accuracy 0.6200); verdict: rotation better"
    )
    assert chosen.tags == {
        "ssl_rot.arm": "rotation",
        "ssl_rot.reference": "supervised",
        "ssl_rot.verdict": "rotation better",
        "ssl_rot.metric": "test_acc",
        "ssl_rot.difference": "+0.1100",
        "ssl_rot.interval": chosen.tags["ssl_rot.interval"],
        "ssl_rot.n": "3",
        "ssl_rot.cell": "labels_per_class=5",
        "ssl_rot.setting": "lr=0.1",
    }
    assert chosen.tags["ssl_rot.interval"].startswith("[+0.0")


@pytest.mark.parametrize(
    ("gain", "planned", "said"),
    [
        (UNCLEAR, None, "the verdict is: undecided"),
        (GAIN[:2], None, "the verdict is: not enough runs"),
        (GAIN, 5, "the verdict is interim, after 3 of 5 seeds"),
    ],
)
def test_an_open_question_registers_nothing_unless_told(runs, report, gain, planned, said):
    make(runs, "rotation", gain)
    make(runs, "supervised", NO_GAIN[: len(gain)])
    found = report()
    with pytest.raises(UserError, match=f"{said}.*register_anyway=true"):
        choose_by_verdict(found, planned, anyway=False)
    chosen = choose_by_verdict(found, planned, anyway=True)
    assert name_of(runs, chosen)[0] == "rotation-digits-seed0"


def test_several_cells_are_refused_by_name(runs, report):
    make(runs, "rotation", GAIN)
    make(runs, "supervised", NO_GAIN)
    for arm in ("rotation", "supervised"):
        make(runs, arm, GAIN, dataset__labels_per_class="20")
    with pytest.raises(UserError, match=r"(?s)has 2; narrow it.*=5.*=20"):
        choose_by_verdict(report(), None, anyway=True)


@pytest.mark.parametrize("val", [None, 0.7])
def test_of_two_arms_that_win_the_validation_split_chooses(runs, report, val):
    make(runs, "rotation", GAIN, val=val)
    make(runs, "simclr", [0.2, 0.21, 0.22], val=None if val is None else val - 0.1)
    make(runs, "supervised", NO_GAIN, val=val)
    found = report()
    if val is None:
        with pytest.raises(UserError, match="rotation and simclr both qualify"):
            choose_by_verdict(found, None, anyway=False)
        return
    chosen = choose_by_verdict(found, None, anyway=False)
    assert name_of(runs, chosen)[0] == "rotation-digits-seed2"
    assert chosen.tags["ssl_rot.difference"] == "+0.1100"


def test_a_sweeps_best_is_the_setting_with_the_best_mean_and_all_seeds(runs):
    make(runs, "rotation", NO_GAIN, val=0.6, schedule__lr="0.1")
    make(runs, "rotation", GAIN, val=0.5, schedule__lr="0.2")
    make(runs, "supervised", GAIN, val=0.55)
    make(runs, "supervised", GAIN[:1], val=0.9, schedule__lr="0.3")  # one lucky seed
    chosen = choose_by_validation(runs.frame())
    assert name_of(runs, chosen) == ("rotation-digits-seed2", "0.1")
    assert chosen.reason == (
        "rotation, seed 2, the best of 4 settings: mean validation accuracy 0.6100"
    )


def test_without_validation_accuracies_a_sweep_has_no_best(runs):
    make(runs, "rotation", GAIN)
    assert choose_by_validation(runs.frame()) is None
