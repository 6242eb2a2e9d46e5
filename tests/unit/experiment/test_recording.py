"""What a run records about itself."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from hydra.utils import instantiate


def test_both_phases_record_the_number_of_threads(run_job, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    runs = run_job(tmp_path, "+experiment=rotation").runs
    assert {phase: run.data.tags["ssl_rot.threads"] for phase, run in runs.items()} == {
        "pretext": "3",
        "downstream": "3",
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("predictions")


# With bfloat16, and with a head that is trained on stored features.
@pytest.mark.parametrize(
    "overrides", [[], ["freeze=backbone", "schedule.lr=0.5"], ["precision=bf16"]], ids=str
)
def test_the_last_epochs_predictions_are_kept(run_job, compose, folder, overrides):
    longer = ["dataset.labels_per_class=9", "schedule.epochs=3", "schedule=constant"]
    ran = run_job(folder, "+experiment=rotation", *longer, *overrides)
    table = pd.read_parquet(ran.artifact("downstream", "predictions.parquet"))
    assert {name: str(dtype) for name, dtype in table.dtypes.items()} == {
        "index": "int32",
        "target": "int16",
        "prediction": "int16",
        "probability": "float32",
    }
    accuracies = [row["test_acc"] for row in ran.history("downstream")]
    assert accuracies[-1] not in accuracies[:-1]  # else an earlier epoch's would do
    assert (table["prediction"] == table["target"]).mean() == accuracies[-1]
    test = instantiate(compose("dataset.image_size=8").dataset, seed=0).test
    assert table["index"].tolist() == [*range(len(test))]
    assert table["target"].tolist() == test.labels.tolist()
    assert table["probability"].between(1 / 10, 1).all()
    if "pretext" in ran.runs:
        listed = ran.client.list_artifacts(ran.runs["pretext"].info.run_id)
        assert "predictions.parquet" not in {item.path for item in listed}
