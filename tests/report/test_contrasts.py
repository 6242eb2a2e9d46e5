"""More arms than two: each against the reference, or all pairs of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ssl_rot.errors import ConfigError, TrackingError
from ssl_rot.report import compare, pair_runs
from ssl_rot.report.comparison.floors import add_floors
from ssl_rot.report.page.cell_tables import number_table
from ssl_rot.report.page.figures import draw_figures
from ssl_rot.report.page.headline import write_headline

ACCURACIES = {"supervised": 0.5, "rotation": 0.6, "simclr": 0.65, "random_targets": 0.5}
NOISE = (0.0, 0.01, -0.01)


@pytest.fixture
def arms(runs):
    """Four arms at two budgets; simclr gains at the larger one only."""
    for labels in ("1", "5"):
        for arm, accuracy in ACCURACIES.items():
            if (arm, labels) == ("simclr", "1"):
                accuracy = 0.45
            for seed, noise in enumerate(NOISE):
                value = accuracy + noise * (arm != "supervised")
                runs.downstream(arm, seed, value, dataset__labels_per_class=labels)
    return runs


def contrasts(cells: pd.DataFrame) -> list[tuple[str, str]]:
    rows = cells[["arm", "reference"]].drop_duplicates()
    return list(rows.itertuples(index=False, name=None))


def test_each_arm_is_compared_with_supervised_only(arms) -> None:
    pairs = pair_runs(arms.frame())
    assert (pairs["left_out"] == "").all()
    cells = compare(pairs)
    assert contrasts(cells) == [
        ("rotation", "supervised"),
        ("random_targets", "supervised"),
        ("simclr", "supervised"),
    ]
    np.testing.assert_allclose(cells["difference"], [0.1, 0.1, 0, 0, -0.05, 0.15], atol=1e-12)
    assert list(cells["n"]) == [3] * 6
    assert list(cells["cell"][:3]) == [
        "rotation: labels_per_class=1",
        "rotation: labels_per_class=5",
        "random_targets: labels_per_class=1",
    ]


def test_many_arms_share_a_sentence_and_the_decided_ones_have_numbers(arms) -> None:
    pairs = pair_runs(arms.frame())
    first, *others = write_headline(add_floors(compare(pairs), pairs, arms.frame()))
    assert first == (
        "Use rotation; with 5 labels per class, use simclr; with 1 label per class, do not use "
        "simclr; these runs do not settle whether random_targets helps."
    )
    assert others[0].startswith("Rotation gains 10.0 points")
    assert others[1].startswith("Simclr gains 15.0 points")
    assert others[2].startswith("Simclr loses 5.0 points")
    assert "andom_targets" not in " ".join(others[:3])


@pytest.mark.parametrize(
    ("means", "sentence"),
    [
        ([0.5, 0.6, 0.6], "On validation images rotation and simclr are the best arms."),
        ([0.7, 0.6, 0.6], "On validation images supervised-only is the best arm."),
    ],
)
def test_arms_that_tie_on_validation_images_are_both_named(arms, means, sentence) -> None:
    frame = pd.DataFrame({"arm": ["supervised", "rotation", "simclr"], "val_mean": means})
    trials = frame.assign(is_chosen=True, cell="labels_per_class=1")
    pairs = pair_runs(arms.frame())
    cells = add_floors(compare(pairs), pairs, arms.frame())
    assert sentence in write_headline(cells, trials=trials)


def test_holm_covers_contrasts_and_cells(arms) -> None:
    among = compare(pair_runs(arms.frame()))
    alone = compare(pair_runs(arms.frame()).query("arm == 'simclr'"))
    clearest = among["p_holm"].idxmin()
    row = alone[alone["cell"] == among["cell"][clearest].partition(": ")[2]]
    assert among["p_holm"][clearest] == pytest.approx(3 * row["p_holm"].iloc[0], rel=1e-6)


def test_another_reference_by_the_name_of_its_pretext(arms) -> None:
    pairs = pair_runs(arms.frame(), reference="simclr")
    cells = add_floors(compare(pairs), pairs, arms.frame())
    assert contrasts(cells)[0] == ("rotation", "simclr")
    np.testing.assert_allclose(cells["difference"][:2], [0.15, -0.05])
    assert "supervised better" not in " ".join(write_headline(cells))
    assert "supervised-only" in " ".join(write_headline(cells)) + " ".join(cells["cell"])


def test_all_pairs_of_arms(arms) -> None:
    pairs = pair_runs(arms.frame(), contrasts="all")
    cells = add_floors(compare(pairs), pairs, arms.frame())
    assert contrasts(cells) == [
        ("rotation", "supervised"),
        ("random_targets", "supervised"),
        ("simclr", "supervised"),
        ("random_targets", "rotation"),
        ("simclr", "rotation"),
        ("simclr", "random_targets"),
    ]
    assert cells["cell"].is_unique
    assert cells["cell"].iloc[-1] == "simclr against random_targets: labels_per_class=5"
    headings = [column.heading for column in number_table(cells).columns]
    assert headings[1:3] == ["arm", "reference"]


def test_settings_of_the_references_pretext_make_cells_too(runs) -> None:
    for seed in range(3):
        runs.downstream("simclr", seed, 0.7)
        for epochs, accuracy in (("20", 0.6), ("40", 0.65)):
            runs.downstream("rotation", seed, accuracy, pretext__schedule__epochs=epochs)
    cells = compare(pair_runs(runs.frame(), reference="rotation"))
    assert list(cells["reference.pretext.schedule.epochs"]) == ["20", "40"]
    np.testing.assert_allclose(cells["difference"], [0.1, 0.05])


def test_all_pairs_need_no_reference(runs) -> None:
    for arm, accuracy in (("rotation", 0.6), ("simclr", 0.65), ("random_targets", 0.5)):
        for seed, noise in enumerate(NOISE):
            runs.downstream(arm, seed, accuracy + noise)
    with pytest.raises(TrackingError, match="none of the supervised-only arm"):
        pair_runs(runs.frame())
    cells = compare(pair_runs(runs.frame(), contrasts="all"))
    assert contrasts(cells) == [
        ("random_targets", "rotation"),
        ("simclr", "rotation"),
        ("simclr", "random_targets"),
    ]


def test_a_supervised_arm_ignores_the_settings_of_a_pretext(runs) -> None:
    for seed in range(3):
        runs.downstream("rotation", seed, 0.7)
        runs.downstream("supervised", seed, 0.6, pretext__schedule__epochs=str(seed))
    cells = compare(pair_runs(runs.frame(), reference="rotation"))
    assert contrasts(cells) == [("supervised", "rotation")]
    assert list(cells["n"]) == [3]


def test_equal_images_of_a_reference_include_its_pretext(runs) -> None:
    for arm, images, accuracy in (("rotation", 2000, 0.6), ("simclr", 4000, 0.7)):
        pretext = runs.pretext(0, images=images, pretext=arm)
        runs.downstream(arm, 0, accuracy, after=pretext)
    longer = {"epochs": 50, "schedule__epochs": "50"}  # 2,000 images more
    longer_run = runs.downstream("rotation", 0, 0.65, after=runs.made[0], **longer)
    pairs = pair_runs(runs.frame(), runs.histories(), reference="rotation")
    (pair,) = pairs.query("left_out == ''").to_dict("records")
    assert pair["equal_images_run_id"] == longer_run.run_id
    assert pair["equal_images"] == 4500
    assert pair["reference_pretext_images"] == 2000


def test_the_figures_show_every_arm_once(arms) -> None:
    pairs = pair_runs(arms.frame(), arms.histories())
    figures = {figure.name: figure for figure in draw_figures(compare(pairs), pairs, {})}
    upper = figures["labels"].figure.axes[0]
    names = [container.get_label() for container in upper.containers]
    assert names == ["supervised-only", "rotation", "random_targets", "simclr"]


def test_a_run_without_partner_is_compared_with_the_nearest_of_another_arm(arms) -> None:
    arms.downstream("simclr", 9, 0.9, name="lonely")
    arms.downstream("supervised", 8, 0.9, name="reference")
    pairs = pair_runs(arms.frame())
    left_out = pairs[pairs["left_out"] != ""]
    assert list(left_out["left_out"]) == [
        "no partner: no supervised-only run with seed 9",
        "no partner: no rotation or random_targets or simclr run with seed 8",
    ]


@pytest.mark.parametrize("chosen", [{"contrasts": "some"}, {"contrasts": "none"}])
def test_unknown_contrasts_are_refused(arms, chosen) -> None:
    with pytest.raises(ConfigError, match="is not allowed; it must be reference or all"):
        pair_runs(arms.frame(), **chosen)


def test_a_reference_that_was_not_trained(arms) -> None:
    with pytest.raises(TrackingError, match=r"none of the rotation_8 arm.*reference=rotation"):
        pair_runs(arms.frame(), reference="rotation_8")
