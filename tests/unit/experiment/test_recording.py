"""What a run records about itself."""

from __future__ import annotations

import torch


def test_both_phases_record_the_number_of_threads(run_job, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    runs = run_job(tmp_path, "+experiment=rotation").runs
    assert {phase: run.data.tags["ssl_rot.threads"] for phase, run in runs.items()} == {
        "pretext": "3",
        "downstream": "3",
    }
