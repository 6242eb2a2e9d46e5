"""The metrics file of a run."""

from __future__ import annotations

import math

from ssl_rot.tracking import History


def test_values_stay_in_their_columns_whatever_order_another_version_has(tmp_path):
    History(tmp_path / "history.csv").add(1, {"train_loss": 0.5, "lr": 0.1, "test_acc": 0.9})
    resumed = History(tmp_path / "history.csv")
    resumed.add(2, {"new": 7.0, "test_acc": 0.8, "train_loss": 0.4})
    rows = History(tmp_path / "history.csv").rows
    assert rows[1] == {"train_loss": 0.5, "lr": 0.1, "test_acc": 0.9}
    assert (rows[2]["train_loss"], rows[2]["test_acc"]) == (0.4, 0.8)
    assert math.isnan(rows[2].get("lr", math.nan))
    assert rows[2]["new"] == 7.0


def test_an_incomplete_last_row_is_dropped_and_written_anew(tmp_path):
    path = tmp_path / "history.csv"
    history = History(path)
    for epoch in (1, 2):
        history.add(epoch, {"train_loss": 0.5 / epoch})
    path.write_bytes(path.read_bytes()[:-2])  # 0.2, for a reader that takes what is there
    resumed = History(path)
    assert list(resumed.rows) == [1]
    resumed.add(2, {"train_loss": 0.25})
    assert {epoch: row["train_loss"] for epoch, row in History(path).rows.items()} == {
        1: 0.5,
        2: 0.25,
    }


def test_a_row_that_exists_is_kept(tmp_path):
    path = tmp_path / "history.csv"
    History(path).add(1, {"train_loss": 0.5})
    before = path.read_bytes()
    again = History(path)
    again.add(1, {"train_loss": 0.7})
    assert again.rows == {1: {"train_loss": 0.5}}
    assert path.read_bytes() == before


def test_a_metric_that_is_new_gets_a_column(tmp_path):
    """As in the verdict of a sweep that was resumed with more cells."""
    history = History(tmp_path / "history.csv")
    history.add(1, {"a": 1.0})
    History(tmp_path / "history.csv").add(2, {"a": 2.0, "b": 3.0})
    assert History(tmp_path / "history.csv").rows == {1: {"a": 1.0}, 2: {"a": 2.0, "b": 3.0}}


def test_rows_of_tiny_epochs_wait_for_the_disk_once_a_second(tmp_path, monkeypatch):
    synced, seconds = [], [100.0]
    monkeypatch.setattr("os.fsync", lambda file: synced.append(seconds[0]))
    monkeypatch.setattr("time.monotonic", lambda: seconds[0])
    history = History(tmp_path / "history.csv")
    history.add(1, {"a": 1.0})  # with its header: an atomic write
    synced.clear()
    for epoch in range(2, 12):
        seconds[0] = 100 + 0.25 * epoch
        history.add(epoch, {"a": 1.0})
        # Another process has it at once.
        assert len(History(tmp_path / "history.csv").rows) == epoch
    assert synced == [100.5, 101.5, 102.5]
    history.sync()
    assert len(synced) == 4
