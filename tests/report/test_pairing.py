"""Which runs are paired, and why the others are not compared."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ssl_rot.errors import ConfigError, TrackingError
from ssl_rot.report import compare, pair_runs
from ssl_rot.report.page.run_tables import pair_table


def reasons(pairs: pd.DataFrame) -> dict[str, str]:
    """Why each run is left out, by its name."""
    rows = pairs[pairs["left_out"] != ""]
    names = rows["arm_run_name"].fillna(rows["reference_run_name"])
    return dict(zip(names, rows["left_out"], strict=True))


def test_pairs_have_the_same_seed_and_their_difference(runs) -> None:
    runs.arms([0.1, -0.2, 0.05])
    pairs = pair_runs(runs.frame(), runs.histories())
    assert (pairs["left_out"] == "").all()
    assert list(pairs["seed"]) == ["0", "1", "2"]
    np.testing.assert_allclose(pairs["difference"], [0.1, -0.2, 0.05])
    np.testing.assert_allclose(pairs["reference_value"], 0.5)
    assert pairs["cell"].nunique() == 1


def test_one_supervised_run_is_the_partner_of_several_pretexts(runs) -> None:
    for seed in range(2):
        partner = runs.downstream("supervised", seed, 0.5)
        runs.downstream("rotation", seed, 0.6)
        runs.downstream("rotation", seed, 0.7, pretext="rotation_2", pretext__angles="[0, 180]")
    pairs = pair_runs(runs.frame())
    assert len(pairs) == 4
    assert (pairs["reference_run_id"] == partner.run_id).sum() == 2
    cells = compare(pairs)
    assert list(cells["n"]) == [2, 2]
    assert set(cells["pretext"]) == {"rotation", "rotation_2"}
    np.testing.assert_allclose(sorted(cells["difference"]), [0.1, 0.2])


def test_pairs_without_histories_have_no_costs_but_the_same_differences(runs) -> None:
    runs.arms([0.1, 0.2])
    bare, full = pair_runs(runs.frame()), pair_runs(runs.frame(), runs.histories())
    np.testing.assert_allclose(bare["difference"], full["difference"])
    assert bare[["epochs_to_match", "arm_images", "pretext_images"]].isna().all(axis=None)
    cells = compare(bare)
    assert np.isnan(cells["epochs_to_match"][0])


@pytest.mark.parametrize("status", ["FAILED", "KILLED", "RUNNING"])
def test_what_is_not_finished_is_left_out(runs, status: str) -> None:
    runs.arms([0.1, 0.2])
    runs.downstream("rotation", 5, 0.9, status=status, name="bad")
    assert reasons(pair_runs(runs.frame())) == {"bad": f"not FINISHED: {status}"}


def test_the_error_of_a_failed_run_is_part_of_the_reason(runs) -> None:
    runs.arms([0.1, 0.2])
    bad = runs.downstream("rotation", 5, 0.9, status="FAILED", name="bad")
    bad.tags["error"] = "NonFiniteLoss: at epoch 3"
    found = reasons(pair_runs(runs.frame()))
    assert found == {"bad": "not FINISHED: FAILED (NonFiniteLoss: at epoch 3)"}


def test_pairs_are_sorted_and_have_no_params_of_other_kinds_of_runs(runs) -> None:
    runs.arms([0.1] * 11)
    frame = runs.frame().sample(frac=1, random_state=0)
    sweep = {"run_id": "s", "status": "FINISHED", "tags.ssl_rot.phase": "sweep"}
    frame = pd.concat([frame, pd.DataFrame([sweep | {"params.overrides": "seed=0"}])])
    pairs = pair_runs(frame)
    assert list(pairs["seed"]) == [str(seed) for seed in range(11)]
    assert "params.overrides" not in pairs


def test_the_latest_run_of_a_config_counts(runs) -> None:
    runs.downstream("rotation", 0, 0.9, name="old")
    runs.downstream("supervised", 0, 0.1, name="old supervised")
    runs.arms([0.1, 0.2])
    runs.downstream("rotation", 0, 0.9, status="FAILED", name="retry")
    pairs = pair_runs(runs.frame())
    np.testing.assert_allclose(pairs["difference"].dropna(), [0.1, 0.2])
    assert reasons(pairs) == {
        "old": "superseded: its config was run again later",
        "old supervised": "superseded: its config was run again later",
        "retry": "not FINISHED: FAILED",
    }


def test_ignored_pretext_settings_do_not_make_a_second_supervised_run(runs) -> None:
    """`pretext.schedule.epochs=2` over both arms changes nothing in the supervised-only one."""
    runs.arms([0.1, 0.2])
    again = runs.downstream("supervised", 0, 0.4, pretext__schedule__epochs="2", name="again")
    frame = runs.frame()
    # Even with a config_key of its own, as if the hash had included them, it is the same run.
    frame.loc[frame["run_id"] == again.run_id, "tags.ssl_rot.config_key"] = "another"
    pairs = pair_runs(frame)
    assert (pairs["left_out"] == "").sum() == 2
    np.testing.assert_allclose(pairs.loc[pairs["seed"] == "0", "difference"].dropna(), [0.2])


def test_no_partner_names_how_the_nearest_run_differs(runs) -> None:
    runs.arms([0.1, 0.2])
    # The mistake of the article: the arms have different learning rates.
    lr = {"schedule__lr": "0.2", "schedule__optimizer__lr": "0.2"}
    runs.downstream("rotation", 0, 0.9, name="fast", **lr)
    runs.downstream("rotation", 7, 0.9, name="lonely")
    runs.downstream("supervised", 8, 0.9, name="lonely supervised")
    assert reasons(pair_runs(runs.frame())) == {
        "fast": "no partner: the nearest supervised-only run differs in "
        "schedule.lr (0.2 against 0.05)",
        "lonely": "no partner: no supervised-only run with seed 7",
        "lonely supervised": "no partner: no rotation run with seed 8",
    }


def test_no_partner_though_all_params_agree(runs) -> None:
    runs.arms([0.1, 0.2])
    frame = runs.frame()
    of_rotation = (frame["tags.ssl_rot.arm"] == "rotation") & (frame["params.seed"] == "1")
    frame.loc[of_rotation, "tags.ssl_rot.pair_key"] = "other data"
    found = reasons(pair_runs(frame))["rotation-digits-seed1"]
    assert found.endswith("the data, the precision or the starting weights, but in no param")


def test_a_cell_whose_arms_differ_is_refused_and_the_keys_are_named(runs) -> None:
    runs.arms([0.1, 0.2, 0.3])
    runs.arms([0.1, 0.2], dataset__labels_per_class="1")
    frame = runs.frame()
    row = (
        (frame["params.seed"] == "1")
        & (frame["tags.ssl_rot.arm"] == "supervised")
        & (frame["params.dataset.labels_per_class"] == "5")
    )
    frame.loc[row, ["params.schedule.lr", "params.loss._target_"]] = ["0.02", "mine.Loss"]
    pairs = pair_runs(frame)
    refused = pairs[pairs["left_out"] != ""]
    assert len(refused) == 3  # the whole cell, the pairs that agree too
    assert set(refused["left_out"]) == {
        "refused, the arms differ in loss._target_ (torch.nn.CrossEntropyLoss against mine.Loss), "
        "schedule.lr (0.05 against 0.02)"
    }
    assert list(compare(pairs)["dataset.labels_per_class"]) == ["1"]


def test_a_param_that_only_one_arm_has_is_a_difference(runs) -> None:
    runs.arms([0.1, 0.2])
    frame = runs.frame()
    frame.loc[frame["tags.ssl_rot.arm"] == "rotation", "params.schedule.warmup"] = "3"
    found = set(pair_runs(frame)["left_out"])
    assert found == {"refused, the arms differ in schedule.warmup (3 against (absent))"}


def test_keys_of_a_group_that_differ_in_the_same_values_are_all_named(runs) -> None:
    runs.arms([0.1, 0.2])
    frame = runs.frame()
    of_rotation = frame["tags.ssl_rot.arm"] == "rotation"
    for key in ("warmup", "patience"):
        frame[f"params.schedule.{key}"] = np.where(of_rotation, "3", "0")
    assert set(pair_runs(frame)["left_out"]) == {
        "refused, the arms differ in schedule.patience (3 against 0), schedule.warmup (3 against 0)"
    }


@pytest.mark.parametrize(
    "key",
    [
        *("device", "precision", "resume", "tracking.uri", "tracking.parent_run_id"),
        *("checkpoint.every", "dataset.root", "model.weights", "pretext.reuse"),
    ],
)
def test_params_without_effect_do_not_separate_pairs(runs, key: str) -> None:
    runs.arms([0.1, 0.2])
    frame = runs.frame()
    frame.loc[frame["tags.ssl_rot.arm"] == "rotation", f"params.{key}"] = "elsewhere"
    frame.loc[(frame["params.seed"] == "1"), f"params.{key}"] = "nowhere"
    pairs = pair_runs(frame)
    assert (pairs["left_out"] == "").all()
    assert len(compare(pairs)) == 1


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("dataset.root", ("cats", "cars")),
        ("model.weights", ("null", "x.safetensors")),
        ("precision", ("fp32", "bf16")),
    ],
)
@pytest.mark.parametrize("tagged", [True, False], ids=["", "run without the tag"])
def test_other_data_weights_or_precision_make_another_cell(runs, key, values, tagged) -> None:
    for value, gain in zip(values, (0.1, -0.1), strict=True):
        runs.arms([gain, gain + 0.01, gain + 0.02], **{key.replace(".", "__"): value})
    frame = runs.frame()
    if not tagged:
        frame = frame.drop(columns="tags.ssl_rot.content_key")
    cells = compare(pair_runs(frame)).set_index(key)
    assert list(cells["n"]) == [3, 3]
    np.testing.assert_allclose(cells.loc[[*values], "difference"], [0.11, -0.09])
    name = key.rsplit(".", 1)[-1]
    assert set(cells["cell"]) == {f"{name}={value}" for value in values}


def test_cells_that_no_param_distinguishes_are_named_by_their_content(runs) -> None:
    """The data in a folder was changed. Its path differs by machine and cannot name a cell."""
    runs.arms([0.3, 0.32], dataset__labels_per_class="1")
    runs.arms([0.1, 0.12])
    before = runs.frame()
    after = before.tail(6).copy()  # the last two pairs once more
    after["run_id"] = "later-" + after["run_id"]
    after["metrics.test_acc"] = 0.5
    for key in ("config_key", "pair_key", "content_key"):
        after[f"tags.ssl_rot.{key}"] += " of other data"
    frame = pd.concat([before, after], ignore_index=True)
    other = frame["tags.ssl_rot.content_key"].str.endswith("other data").eq(True)
    frame.loc[(frame["params.seed"] == "1") != other, "params.dataset.root"] = "/elsewhere"
    pairs = pair_runs(frame)
    cells = compare(pairs)
    assert list(cells["n"]) == [2, 2, 2]
    assert cells["cell"].is_unique
    assert list(cells["cell"].str.contains("content_key=.* of other data")).count(True) == 1
    np.testing.assert_allclose(sorted(cells["difference"]), [0, 0.11, 0.31])
    rows = pair_table(pairs, cells, most=9).rows  # each pair by the number of its cell
    listed = pd.DataFrame([(row[0].sort, row[6].sort) for row in rows]).groupby(0)[1].mean()
    np.testing.assert_allclose(listed, 100 * cells["difference"])


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("nan"), "test_acc is missing or not a number"),
        (float("inf"), "test_acc is infinite"),
        (1.7976931348623157e308, "test_acc is infinite"),
        (93.0, "test_acc=93 is not between 0 and 1"),
        (-0.1, "test_acc=-0.1 is not between 0 and 1"),
    ],
)
def test_an_invalid_accuracy_is_left_out(runs, value: float, reason: str) -> None:
    runs.arms([0.1, 0.2, 0.3])
    runs.made[-2].metrics["test_acc"][runs.epochs] = value
    pairs = pair_runs(runs.frame(), runs.histories())
    found = reasons(pairs)
    assert found["rotation-digits-seed2"] == reason
    assert found["supervised-digits-seed2"] == "no partner: no rotation run with seed 2"
    np.testing.assert_allclose(compare(pairs)["difference"], [0.15])


def test_nan_before_the_last_epoch_does_not_matter(runs) -> None:
    runs.arms([0.1, 0.2])
    runs.made[1].metrics["test_acc"][3] = float("nan")
    cells = compare(pair_runs(runs.frame(), runs.histories()))
    np.testing.assert_allclose(cells["difference"], [0.15])


def test_a_metric_missing_in_some_runs(runs) -> None:
    runs.arms([0.1, 0.2, 0.3])
    del runs.made[-1].metrics["test_acc"]
    found = reasons(pair_runs(runs.frame(), runs.histories()))
    assert found["supervised-digits-seed2"] == "test_acc is missing or not a number"


def test_a_metric_that_ends_before_the_last_epoch_is_left_out(runs) -> None:
    runs.arms([0.1, 0.2, 0.3])
    del runs.made[-1].metrics["test_acc"][runs.epochs]
    found = reasons(pair_runs(runs.frame(), runs.histories()))
    assert found["supervised-digits-seed2"] == "test_acc ends at epoch 9 of 10"


def test_runs_with_missing_tags_are_left_out(runs) -> None:
    runs.arms([0.1, 0.2])
    stranger = runs.downstream("rotation", 4, 0.5, name="stranger")
    del stranger.tags["pair_key"]
    assert reasons(pair_runs(runs.frame())) == {
        "stranger": "its arm, config_key, pair_key or seed is missing"
    }


@pytest.mark.parametrize(
    ("there", "missing", "experiment"),
    [("rotation", "supervised-only", "supervised"), ("supervised", "rotation", "rotation")],
)
def test_one_arm_only(runs, there: str, missing: str, experiment: str) -> None:
    runs.downstream(there, 0, 0.5)
    with pytest.raises(
        TrackingError, match=rf"1 downstream runs, but none of the {missing} arm.*"
        rf"\+experiment={experiment}"
    ):  # fmt: skip
        pair_runs(runs.frame())


@pytest.mark.parametrize("metric", ["lr", "epoch_seconds", "test_accuracy", "pretext/test_acc"])
def test_an_unknown_metric_is_refused_and_the_known_ones_are_listed(runs, metric: str) -> None:
    runs.arms([0.1, 0.2])
    with pytest.raises(
        ConfigError,
        match=rf"metric={metric} is not allowed; the runs have: "
        "test_acc, test_loss, train_acc, train_loss",
    ):
        pair_runs(runs.frame(), metric=metric)


def test_costs_and_epochs_to_match(runs) -> None:
    pretext = runs.pretext(0, acc=0.8, images=4000)
    runs.downstream("rotation", 0, 0.8, after=pretext)
    runs.downstream("supervised", 0, 0.4)
    runs.downstream("rotation", 0, 0.6, after=pretext, dataset__labels_per_class="1")
    runs.downstream("supervised", 0, 0.7, dataset__labels_per_class="1")
    runs.downstream("rotation", 1, 0.6, after=pretext, status="FAILED")
    pairs = pair_runs(runs.frame(), runs.histories()).query("left_out == ''")
    first, second = pairs.to_dict("records")
    assert first["epochs_to_match"] == 5  # 0.8 * 5 / 10 is the partner's 0.4
    assert np.isnan(second["epochs_to_match"])
    assert first["reference_epochs"] == 10
    assert first["pretext_acc"] == pytest.approx(0.8)
    assert first["pretext_images"] == 4000
    assert first["pretext_seconds"] == pytest.approx(3.0)  # 1 + 2, an epoch each
    assert first["pretext_shared_by"] == 2  # the failed run does not count
    assert first["arm_images"] == first["reference_images"] == 500
    assert first["arm_seconds"] == pytest.approx(5.0)


def test_a_loss_is_matched_from_above(runs) -> None:
    runs.downstream("rotation", 0, 0.8)
    runs.downstream("supervised", 0, 0.4)
    pairs = pair_runs(runs.frame(), runs.histories(), "test_loss")
    assert pairs["epochs_to_match"][0] == 5


def test_equal_images_uses_the_supervised_run_of_the_nearest_length(runs) -> None:
    pretext = runs.pretext(0, images=2000)
    runs.downstream("rotation", 0, 0.8, after=pretext)  # 2,000 + 500 images
    runs.downstream("supervised", 0, 0.4)  # 500 images
    for epochs, acc in ((80, 0.7), (51, 0.6)):  # 50 images each
        length = {"epochs": epochs, "schedule__epochs": str(epochs)}
        nearest = runs.downstream("supervised", 0, acc, **length)
    runs.downstream("supervised", 1, 0.9, epochs=50, schedule__epochs="50")  # another seed
    pair = pair_runs(runs.frame(), runs.histories()).query("left_out == ''").iloc[0]
    assert pair["equal_images_run_id"] == nearest.run_id
    assert pair["equal_images"] == 2500
    # After 2,500 images that run was at epoch 50 of 51.
    assert pair["equal_images_difference"] == pytest.approx(0.8 - 0.6 * 50 / 51)


def test_equal_images_does_not_use_runs_on_other_data(runs) -> None:
    pretext = runs.pretext(0, images=500)
    for root in ("cats", "cars"):
        runs.downstream("rotation", 0, 0.8, after=pretext, dataset__root=root)  # 500 + 500 images
        runs.downstream("supervised", 0, 0.4, dataset__root=root)
    length = {"epochs": 20, "schedule__epochs": "20"}
    longer = runs.downstream("supervised", 0, 0.6, dataset__root="cars", **length)
    pairs = pair_runs(runs.frame(), runs.histories()).query("left_out == ''")
    taken = pairs.set_index("params.dataset.root")["equal_images_run_id"]
    assert taken["cars"] == longer.run_id
    assert pd.isna(taken["cats"])


@pytest.mark.parametrize(
    ("pretext_images", "epochs"),
    [(200, 13), (400, 30)],
    ids=["rotation at epoch 9 of 10", "supervised-only at epoch 18 of 30"],
)
def test_no_equal_images_in_the_middle_of_a_schedule(runs, pretext_images, epochs) -> None:
    """There the learning rate is still high, and the accuracy not yet the final one."""
    pretext = runs.pretext(0, images=pretext_images)
    runs.downstream("rotation", 0, 0.8, after=pretext)  # 500 images more
    runs.downstream("supervised", 0, 0.4)
    runs.downstream("supervised", 0, 0.4, epochs=epochs, schedule__epochs=str(epochs))
    pair = pair_runs(runs.frame(), runs.histories()).query("left_out == ''").iloc[0]
    assert pair[["equal_images", "equal_images_difference", "equal_images_run_id"]].isna().all()
    assert compare(pair_runs(runs.frame(), runs.histories()))["equal_images_n"][0] == 0


def test_no_equal_images_if_the_pretext_alone_costs_more(runs) -> None:
    pretext = runs.pretext(0, images=4000)
    runs.downstream("rotation", 0, 0.8, after=pretext)
    runs.downstream("supervised", 0, 0.4)
    pair = pair_runs(runs.frame(), runs.histories()).iloc[0]
    assert np.isnan(pair["equal_images_difference"])
    assert np.isnan(pair["equal_images"])
