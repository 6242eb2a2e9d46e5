"""Two runs that were given one output directory do not mix."""

import csv

TINY = (
    *("dataset.image_size=8", "dataset.train_size=96", "model.widths=[4,8]", "model.blocks=[1,1]"),
    *("schedule.epochs=2", "hydra.run.dir=same"),
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
