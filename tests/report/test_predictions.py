"""Predictions read from the artifacts of runs, and what they add to the answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ssl_rot.report import compare, load_predictions, load_runs, pair_runs
from ssl_rot.report.analysis import Question, answer

IMAGES = 60


def log_predictions(runs, client, folder: Path) -> None:
    """A predictions.parquet for each downstream run, with its accuracy; rows in another order."""
    for number, made in enumerate(runs.made):
        if made.tags["phase"] != "downstream":
            continue
        rng = np.random.default_rng(number)
        targets = np.arange(IMAGES) % 3
        is_right = np.zeros(IMAGES, dtype=bool)
        accuracy = made.metrics["test_acc"][runs.epochs]
        is_right[rng.permutation(IMAGES)[: round(accuracy * IMAGES)]] = True
        table = pd.DataFrame(
            {
                "index": np.arange(IMAGES, dtype=np.int32),
                "target": targets.astype(np.int16),
                "prediction": np.where(is_right, targets, (targets + 1) % 3).astype(np.int16),
                "probability": np.float32(0.5),
            }
        )
        table.sample(frac=1, random_state=number).to_parquet(folder / "predictions.parquet")
        client.log_artifact(made.run_id, str(folder / "predictions.parquet"))


@pytest.fixture
def stored(runs, store_uri: str, tmp_path: Path, monkeypatch) -> pd.DataFrame:
    monkeypatch.chdir(tmp_path)
    runs.arms([0.10, 0.15, 0.05, 0.10], base=0.5)
    client = runs.write(store_uri)
    log_predictions(runs, client, tmp_path)
    return load_runs(uri=store_uri)


def test_images_are_in_the_order_of_their_index(stored, store_uri: str) -> None:
    places = list(zip(stored["run_id"], stored["artifact_uri"], strict=True))
    found = load_predictions(places, store_uri)
    assert len(found) == 8  # not of the pretext runs
    for run_id, run in found.items():
        assert run.targets.tolist() == [n % 3 for n in range(IMAGES)]
        accuracy = stored.set_index("run_id").loc[run_id, "metrics.test_acc"]
        assert run.hits.mean() == pytest.approx(accuracy, abs=0.5 / IMAGES)


def test_the_interval_of_a_small_test_set_is_wider_than_that_of_its_seeds(stored) -> None:
    wide, narrow = (
        answer(stored, Question(interval=kind), "", "").cells.iloc[0]
        for kind in ("two_way", "seeds")
    )
    assert wide["images"] == IMAGES
    assert np.isnan(narrow["images"])
    assert wide["difference"] == pytest.approx(narrow["difference"], abs=1 / IMAGES)
    assert wide["error"] > narrow["error"]
    assert f"4 seeds and {IMAGES} test images" in wide["basis"]


def test_a_run_without_predictions_leaves_the_interval_over_seeds(stored, store_uri: str) -> None:
    downstream = stored[stored["tags.ssl_rot.phase"] == "downstream"]
    places = list(zip(downstream["run_id"], downstream["artifact_uri"], strict=True))[1:]
    cells = compare(pair_runs(stored), predictions=load_predictions(places, store_uri))
    assert cells["images"].isna().all()
    assert "test images" not in cells["basis"][0]


def test_a_damaged_file_is_as_good_as_none(stored, store_uri: str) -> None:
    downstream = stored[stored["tags.ssl_rot.phase"] == "downstream"]
    places = list(zip(downstream["run_id"], downstream["artifact_uri"], strict=True))
    (Path(places[-1][1]) / "predictions.parquet").write_bytes(b"PAR1 half a file")
    assert len(load_predictions(places, store_uri)) == 7


def test_balanced_accuracy_gives_every_class_the_same_weight(stored) -> None:
    report = answer(stored, Question(metric="balanced_acc"), "", "")
    cell = report.cells.iloc[0]
    assert cell["metric"] == "balanced_acc"
    means = report.recalls[["arm_mean", "reference_mean"]].mean()
    assert cell["arm_mean"] == pytest.approx(means["arm_mean"])
    assert cell["difference"] == pytest.approx(means["arm_mean"] - means["reference_mean"])
