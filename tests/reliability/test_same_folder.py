"""Two runs that were given one output directory do not mix."""

import csv
from pathlib import Path

import mlflow
import pytest

TINY = (
    *("dataset.image_size=8", "dataset.train_size=96", "model.widths=[8,16]", "model.blocks=[1,1]"),
    "dataset.augment.crop_padding=0",
    *("schedule.epochs=2", "hydra.run.dir=same", "floors=false"),
)


def test_each_run_keeps_its_own_numbers(call_main, make_store, all_runs, tmp_path):
    uri = make_store(tmp_path)
    for seed in (0, 1):
        status, output = call_main("+experiment=supervised", f"seed={seed}", *TINY)
        assert status == 0, output
    first, second = sorted(all_runs(uri), key=lambda run: run.info.start_time)
    assert first.data.metrics["train_loss"] != second.data.metrics["train_loss"]
    for run, folder in ((first, "downstream"), (second, "downstream-2")):
        with (tmp_path / "same" / folder / "history.csv").open() as file:
            last = [*csv.DictReader(file)][-1]
        assert float(last["train_loss"]) == run.data.metrics["train_loss"]


@pytest.mark.slow
def test_eight_at_once_in_one_folder_and_one_store_lose_nothing(
    start_python, make_store, all_runs, tmp_path
):
    uri = make_store(tmp_path)
    command = ("-m", "ssl_rot.run", "+experiment=supervised", *TINY, "precision=fp32")
    processes = [start_python(*command, f"seed={seed}", cwd=tmp_path) for seed in range(8)]
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 8, outputs
    runs = all_runs(uri)
    assert {run.data.params["seed"] for run in runs} == {str(seed) for seed in range(8)}
    assert len(runs) == 8
    client = mlflow.MlflowClient(uri)
    for run in runs:
        assert run.info.status == "FINISHED"
        with (Path(run.data.tags["ssl_rot.folder"]) / "history.csv").open() as file:
            rows = [*csv.DictReader(file)]
        for name in run.data.metrics:
            points = client.get_metric_history(run.info.run_id, name)
            told = sorted((point.step, point.value) for point in points)
            assert told == [(int(row["epoch"]), float(row[name])) for row in rows]
