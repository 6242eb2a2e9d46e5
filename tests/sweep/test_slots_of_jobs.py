"""What jobs see of the machine: the cores, threads and card of their slot. The cards are faked."""

from __future__ import annotations

import json
import os

import pytest

# A loss that leaves what its job sees.
PROBE = """
import json, os, pathlib, torch

class Probe(torch.nn.CrossEntropyLoss):
    def forward(self, logits, targets):
        seen = {
            "card": os.environ.get("CUDA_VISIBLE_DEVICES"),
            "cores": len(os.sched_getaffinity(0)),
            "threads": torch.get_num_threads(),
            "variable": os.environ["OMP_NUM_THREADS"],
            "initialized": torch.cuda.is_initialized(),
            "own": os.environ["OF_THE_SWEEP"],
        }
        pathlib.Path("seen", str(os.getpid())).write_text(json.dumps(seen))
        return super().forward(logits, targets)
"""
SWEEP = (
    *("+experiment=supervised", "dataset.image_size=8", "dataset.train_size=32", "loss=probe"),
    *("dataset.labels_per_class=2", "model.widths=[4]", "model.blocks=[1]", "schedule.epochs=1"),
    *("floors=false", "seed=range(4)", "hydra/launcher=parallel"),
)
CORES = len(os.sched_getaffinity(0))


@pytest.fixture
def jobs_see(call_main, own_module, make_store, tmp_path, monkeypatch):
    """What the jobs of a sweep see: ``jobs_see(["0", "1"], "hydra.launcher.slots=2")``."""
    make_store(tmp_path)
    own_module("probe_loss", PROBE)
    (tmp_path / "conf" / "loss").mkdir(parents=True)
    (tmp_path / "conf" / "loss" / "probe.yaml").write_text("_target_: probe_loss.Probe\n")
    (tmp_path / "seen").mkdir()
    monkeypatch.setenv("OF_THE_SWEEP", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def see(cards: list[str], *overrides: str) -> list[dict[str, object]]:
        monkeypatch.setattr("ssl_rot.sweep.slots.visible_cards", lambda: cards)
        status, output = call_main("--multirun", "--config-dir", "conf", *SWEEP, *overrides)
        assert status == 0, output
        seen = [json.loads(path.read_text()) for path in (tmp_path / "seen").iterdir()]
        assert len(seen) == 4  # one process a job
        assert not any(job["initialized"] for job in seen)  # a fork would have broken it
        assert {job["own"] for job in seen} == {str(tmp_path)}
        return seen

    return see


def test_each_job_has_a_card_and_its_share_of_the_cores(jobs_see):
    seen = jobs_see(["3", "GPU-7"])
    assert {job["card"] for job in seen} == {"3", "GPU-7"}
    share = max(1, CORES // 2)
    assert {(job["cores"], job["threads"], job["variable"]) for job in seen} == {
        (share, share, str(share))
    }


def test_without_cards_jobs_have_what_the_slots_leave_them(jobs_see):
    seen = jobs_see([], "hydra.launcher.slots=1")
    assert {job["card"] for job in seen} == {None}
    assert {(job["cores"], job["threads"]) for job in seen} == {(CORES, CORES)}


def test_bad_settings_are_refused_before_the_first_job(call_main, make_store, all_runs, tmp_path):
    uri = make_store(tmp_path)
    settings = ("hydra.launcher.slots=0", "hydra.launcher.gpus=some", "hydra.launcher.per_gpu=0")
    status, output = call_main("--multirun", "+experiment=supervised", *settings)
    assert status == 2
    for setting in settings:
        assert f"{setting} is not allowed; it must be" in output
    status, output = call_main("--multirun", "+experiment=supervised", "hydra.launcher.gpus=9")
    assert status == 2
    assert "hydra.launcher.gpus=9 is not allowed: this process sees 0" in output
    assert not all_runs(uri)
