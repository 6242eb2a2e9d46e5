"""The process of a job, when the sweep's own process is gone."""

from __future__ import annotations

from multiprocessing import Pipe

from ssl_rot.sweep import job_process


def test_a_job_goes_on_after_its_sweep_was_killed(monkeypatch):
    receiving, sending = Pipe(duplex=False)
    monkeypatch.setattr(job_process, "_connection", sending)
    job_process.announce_pretrained()
    assert receiving.recv() == job_process.PRETRAINED
    receiving.close()
    job_process.announce_pretrained()
