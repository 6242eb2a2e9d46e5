"""Sweeps that are planned on one machine and run on another."""

from __future__ import annotations

import shlex
import sys
from contextlib import nullcontext

import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from ssl_rot.training import compute

TINY = (
    *("--multirun", "hydra/launcher=basic", "+experiment=supervised"),
    *("dataset.image_size=8", "dataset.train_size=32"),
    *("dataset.labels_per_class=2", "model.widths=[4]", "model.blocks=[1]", "schedule.epochs=1"),
)


@pytest.fixture
def sweep(call_main, make_store, tmp_path):
    """``sweep("seed=0,1")``: a sweep of tiny runs in this process; exit status and output."""
    make_store(tmp_path)
    return lambda *args: call_main(*TINY, *args)


@pytest.fixture
def bf16_on(monkeypatch):
    """``bf16_on(plan=False, jobs=True)``: only the machine of the jobs has bfloat16."""

    def fake(*, plan, jobs):
        has_bf16 = lambda device: jobs if HydraConfig.initialized() else plan  # noqa: E731
        monkeypatch.setattr(compute, "_has_bf16", has_bf16)

    return fake


def test_a_job_is_found_whatever_precision_auto_came_to_where_it_ran(
    sweep, bf16_on, all_runs, tmp_path
):
    bf16_on(plan=False, jobs=True)
    status, output = sweep("seed=0,1", "pretext.schedule.epochs=1,2")  # two of them duplicates
    assert "4 of 4 jobs finished" in output
    assert status == 0

    bf16_on(plan=True, jobs=False)
    status, output = sweep("seed=0,1", "pretext.schedule.epochs=1,2", "resume=true")
    assert "2 finished earlier, 0 to train" in output
    assert "4 of 4 jobs finished" in output
    assert status == 0
    runs = all_runs(f"sqlite:///{tmp_path}/mlflow.db")
    jobs = [run for run in runs if run.data.tags["ssl_rot.phase"] == "downstream"]
    assert {run.data.tags["ssl_rot.job"] for run in jobs} == {"0", "2"}


def test_a_job_without_the_gpus_of_its_sweep_reports_it(sweep, monkeypatch):
    def count() -> int:
        cfg = HydraConfig.instance().cfg  # Hydra 1.4 sets it while the sweep is planned, too
        is_job = cfg is not None and not OmegaConf.is_missing(cfg.hydra.job, "num")
        return 0 if is_job else 2

    monkeypatch.setattr(torch.cuda, "device_count", count)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    (warning,) = [line for line in sweep()[1].splitlines() if "trains on the CPU" in line]
    assert "2 GPUs (CUDA_VISIBLE_DEVICES=0,1)" in warning
    assert "0 GPUs (CUDA_VISIBLE_DEVICES=0,1)" in warning
    assert "trains on the CPU" not in sweep("device=cpu", "seed=1")[1]


def test_runs_name_the_command_that_the_user_typed(sweep, monkeypatch, all_runs, tmp_path):
    def register_worker(folder):
        monkeypatch.setattr(sys, "argv", ["/site-packages/submitit/core/_submit.py", "folder"])
        return nullcontext()

    monkeypatch.setattr("ssl_rot.run.register_worker", register_worker)
    sweep("seed=3")
    runs = all_runs(f"sqlite:///{tmp_path}/mlflow.db")
    assert {run.data.tags["ssl_rot.phase"] for run in runs} >= {"sweep", "downstream"}
    command = shlex.join(["python", "-m", "ssl_rot.run", *TINY, "seed=3"])
    assert {run.data.tags["mlflow.source.name"] for run in runs} == {command}
