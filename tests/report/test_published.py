"""Runs compared with the published results that they reproduce."""

from __future__ import annotations

import pytest

from ssl_rot.config.params import flatten
from ssl_rot.errors import as_text
from ssl_rot.report.comparison.published import PRETEXT_RECIPE, RECIPE, against_published
from ssl_rot.report.page.run_tables import published_table

ROTNET = {key.replace(".", "__"): value for key, value in (RECIPE | PRETEXT_RECIPE).items()} | {
    "model": "nin",
    "model__num_blocks": "4",
    "model__cut": "block2",
    "head": "conv",
    "freeze": "backbone",
    "dataset__name": "cifar10",
    "dataset__labels_per_class": "null",
    "dataset__train_size": "null",
    "schedule__epochs": "100",
    "pretext__schedule__epochs": "200",
}


def test_a_run_is_matched_by_its_config_and_seeds_are_averaged(runs) -> None:
    for seed, accuracy in enumerate([0.90, 0.92]):
        runs.downstream("rotation", seed, accuracy, **ROTNET)
    runs.downstream("supervised", 0, 0.7, **ROTNET)
    runs.downstream("rotation", 2, 0.1, status="FAILED", **ROTNET)
    found = against_published(runs.frame())
    assert list(found["published"]) == pytest.approx([0.7250, 0.9116])
    assert list(found["mean"]) == pytest.approx([0.7, 0.91])
    assert list(found["n"]) == [1, 2]
    assert list(found["otherwise"]) == ["", ""]
    rows = [[cell.text for cell in row] for row in published_table(found).rows]
    assert rows[1][1:] == ["91.16", "RotNet", "91.00 ± 1.41", "2", ""]
    assert rows[0][3] == "70.00"


@pytest.mark.parametrize(
    ("over", "published"),
    [
        ({"head": "mlp"}, 0.8906),
        ({"head": "mlp", "model__cut": "block4"}, 0.6173),
        ({"head": "mlp", "pretext__angles": "[0, 180]"}, 0.8746),
        ({"freeze": "none"}, 0.9217),
        ({"dataset__labels_per_class": "20"}, 0.6463),
    ],
)
def test_settings_are_distinguished(runs, over, published) -> None:
    runs.downstream("rotation", 0, 0.5, **ROTNET | over)
    assert list(against_published(runs.frame())["published"]) == pytest.approx([published])


@pytest.mark.parametrize(
    "over",
    [
        {"model": "resnet18"},
        {"dataset__name": "svhn"},
        {"model__num_blocks": "5"},
        {"dataset__labels_per_class": "50"},
        {"pretext__angles": "[0, 90]"},
    ],
)
def test_settings_that_were_not_published_are_not_compared(runs, over) -> None:
    runs.downstream("rotation", 0, 0.5, **ROTNET | over)
    assert against_published(runs.frame()).empty


def test_deviations_from_the_published_setting_are_listed(runs) -> None:
    less = {"dataset__name": "CIFAR-10 (JPEG)", "dataset__train_size": "500"}
    less |= {"schedule__epochs": "2"}
    runs.downstream("rotation", 0, 0.3, **ROTNET | less)
    runs.downstream("rotation", 0, 0.9, **ROTNET)
    found = against_published(runs.frame()).sort_values("mean")
    assert list(found["otherwise"]) == [
        "epochs=2 of 100 train_size=500 name=CIFAR-10 (JPEG)",
        "",
    ]


@pytest.mark.parametrize(
    ("over", "otherwise"),
    [
        ({"schedule__lr": "0.01", "schedule__optimizer__lr": "0.01"}, "lr=0.01"),
        ({"schedule__batch_size": "64"}, "batch_size=64"),
        ({"loss": "focal", "loss___target_": "ssl_rot.losses.Focal"}, "loss=focal"),
        ({"model__width": "0.25"}, "width=0.25"),
        ({"dataset__val_fraction": "0.1"}, "val_fraction=0.1"),
        ({"dataset__augment__flip": "false"}, "flip=false"),
        ({"pretext__schedule__epochs": "20"}, "pretext.schedule.epochs=20 of 200"),
        ({"pretext__schedule__lr": "0.01"}, "pretext.schedule.lr=0.01"),
    ],
)
def test_runs_that_deviate_from_the_recipe_have_a_row_of_their_own(runs, over, otherwise) -> None:
    for seed, accuracy in enumerate([0.90, 0.92]):
        runs.downstream("rotation", seed, accuracy, **ROTNET)
        runs.downstream("rotation", seed, accuracy - 0.3, **ROTNET | over)
    found = against_published(runs.frame()).sort_values("mean")
    assert list(found["mean"]) == pytest.approx([0.61, 0.91])
    assert list(found["n"]) == [2, 2]
    assert list(found["otherwise"]) == [otherwise, ""]
    # Also if there are no other runs.
    del runs.made[::2]
    assert list(against_published(runs.frame())["otherwise"]) == [otherwise]


def test_the_full_width_may_be_written_as_an_integer(runs) -> None:
    runs.downstream("rotation", 0, 0.9, **ROTNET | {"model__width": "1"})
    assert list(against_published(runs.frame())["otherwise"]) == [""]


def test_settings_that_the_recipe_leaves_open_are_listed_if_they_differ(runs) -> None:
    for milestones in ("[35, 70, 85]", "[20, 40, 45]"):
        runs.downstream("rotation", 0, 0.9, schedule__scheduler__milestones=milestones, **ROTNET)
    found = against_published(runs.frame())
    assert set(found["otherwise"]) == {"milestones=[35, 70, 85]", "milestones=[20, 40, 45]"}


def test_the_pretext_settings_of_a_supervised_run_are_ignored(runs) -> None:
    for seed, pretext_lr in enumerate(("0.1", "0.5")):
        over = {"pretext__schedule__lr": pretext_lr}
        runs.downstream("supervised", seed, 0.7, **ROTNET | over)
    gamma = {"schedule__scheduler__gamma": "0.1", "pretext__schedule__lr": "0.6"}
    runs.downstream("supervised", 0, 0.6, **ROTNET | gamma)
    for seeds in (2, 1):
        found = against_published(runs.frame()).sort_values("mean")
        assert list(found["n"]) == [1, seeds]
        assert list(found["otherwise"]) == ["gamma=0.1", ""]
        del runs.made[0]


def test_a_run_that_was_repeated_counts_once(runs) -> None:
    for accuracy in (0.1, 0.9):
        runs.downstream("rotation", 0, accuracy, **ROTNET)
    found = against_published(runs.frame())
    assert list(found["mean"]) == pytest.approx([0.9])
    assert list(found["n"]) == [1]


@pytest.mark.parametrize("name", ["mlp_head", "conv_head", "fine_tuned", "random", "supervised"])
def test_the_recipe_agrees_with_the_experiments(compose, choices, name) -> None:
    experiment = f"+experiment=rotnet_{name}"
    params = {key: as_text(value) for key, value in flatten(compose(experiment)).items()}
    params |= choices(experiment)
    recipe = RECIPE | (PRETEXT_RECIPE if params["pretext"] != "none" else {})
    assert {key: params[key] for key in recipe} == recipe


def test_runs_of_another_version_may_lack_a_key(runs) -> None:
    runs.arms([0.1, 0.2])
    frame = runs.frame().drop(columns=["params.model.cut"])
    assert against_published(frame).empty
