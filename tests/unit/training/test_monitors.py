"""Monitors: what they measure, and that they change nothing."""

import math

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from ssl_rot.training.monitors import effective_rank, knn_accuracy

MONITORED = ("monitor=[knn,rank]", "dataset.val_fraction=0.2")
SHORT = ("pretext.schedule.epochs=4",)


def draws() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("count", [3, 20, 60])
def test_neighbors_vote_as_in_scikit_learn(count):
    bank, queries = (torch.randn(n, 6, generator=draws()) for n in (count, 1500))
    labels = torch.randint(4, (count,), generator=draws())
    targets = torch.randint(4, (1500,), generator=draws())

    def weights(distances):
        return np.exp(-distances / 0.07)

    reference = KNeighborsClassifier(min(20, count), metric="cosine", weights=weights)
    expected = reference.fit(bank, labels).score(queries, targets)
    assert knn_accuracy(bank, labels, queries, targets) == pytest.approx(expected, abs=0.002)


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_the_rank_of_equal_directions_is_their_number(rank):
    basis = torch.linalg.qr(torch.randn(40, 40, generator=draws()))[0][:, :rank]
    features = basis @ torch.eye(rank, 12)
    assert effective_rank(features) == pytest.approx(rank, rel=1e-3)
    assert effective_rank(7 * features) == pytest.approx(rank, rel=1e-3)


def test_the_rank_by_hand():
    features = torch.diag(torch.tensor([3.0, 1.0]))
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert effective_rank(features) == pytest.approx(math.exp(entropy), rel=1e-4)
    assert effective_rank(torch.zeros(5, 3)) == 0


def test_monitors_change_no_weight_and_no_metric(run_job, tmp_path):
    plain = run_job(tmp_path, "+experiment=rotation", *SHORT, MONITORED[1])
    other = tmp_path / "other"
    other.mkdir()
    watched = run_job(other, "+experiment=rotation", *SHORT, *MONITORED, "monitoring.every=3")
    for phase in ("pretext", "downstream"):
        ours, theirs = watched.weights(phase), plain.weights(phase)
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
        tags = [ran.runs[phase].data.tags["ssl_rot.config_key"] for ran in (watched, plain)]
        assert tags[0] == tags[1]
    times = {"epoch_seconds", "images_per_second", "timestamp"}
    rows = watched.history("pretext")
    for row, reference in zip(rows, plain.history("pretext"), strict=True):
        assert {k: row[k] for k in reference if k not in times} == {
            k: v for k, v in reference.items() if k not in times
        }
        assert row.keys() - reference.keys() == {"knn_acc", "rank", "monitor_seconds"}
    # In the first epoch, every third one, and the last.
    assert [not math.isnan(row["rank"]) for row in rows] == [True, False, True, True]
    for row in (rows[0], *rows[2:]):
        assert 0 <= row["knn_acc"] <= 1
        assert 1 <= row["rank"] <= 8
        assert 0 < row["monitor_seconds"] < row["epoch_seconds"]
    run_id = watched.runs["pretext"].info.run_id
    points = watched.client.get_metric_history(run_id, "pretext/knn_acc")
    assert [point.step for point in points] == [1, 3, 4]
    assert not any("knn" in name for name in watched.runs["downstream"].data.metrics)


def test_the_test_set_is_used_only_if_asked_for_and_marked(run_job, tmp_path):
    ran = run_job(tmp_path, "+experiment=rotation", "monitor=[knn]", "monitoring.split=test")
    names = {name for name in ran.runs["pretext"].data.metrics if "knn" in name or "rank" in name}
    assert names == {"pretext/knn_test_acc"}
