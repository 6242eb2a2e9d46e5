"""Several processes of torchrun train like one, and leave one record."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient
from torch import nn

from ssl_rot.config.validation import validate
from ssl_rot.data import Augment, Batches
from ssl_rot.errors import ConfigError, LostProcesses
from ssl_rot.experiment.context import load_training_context
from ssl_rot.models import resnet
from ssl_rot.training import distributed
from ssl_rot.training.compute import Compute, resolve_compute
from ssl_rot.training.distributed import Group
from tests.warm import CHECKOUT, Process

# A network without BatchNorm, which would see only half of each batch.
MODULE = """
from torch import nn
from ssl_rot.models import StagedBackbone

def plain(in_channels, width):
    first = nn.Sequential(nn.Conv2d(in_channels, width, 3), nn.ReLU())
    second = nn.Sequential(nn.Conv2d(width, width, 3, stride=2), nn.ReLU())
    return StagedBackbone({"first": first, "second": second}, [width, width])
"""
OPTION = "_target_: plain.plain\nwidth: 8\ninit: default\nweights: null\ncut: null\n"

# 101 pretext images in batches of 16: the last has 5 images, so its two parts differ.
JOB = (
    *("dataset.image_size=8", "dataset.train_size=101", "dataset.labels_per_class=3"),
    *("schedule=constant", "schedule.epochs=4", "schedule.batch_size=16", "precision=fp32"),
    *("pretext.schedule.epochs=2", "pretext.schedule.batch_size=16", "device=cpu"),
    *("checkpoint.every=100", "model=plain", "floors=false"),
    "dataset.augment.crop_padding=0",
)

SWEPT = ("schedule.lr", "freeze")
COMMAND = ("-m", "ssl_rot.run", "--config-dir", "conf")


@pytest.fixture
def start(start_python, tmp_path: Path) -> Callable[..., Process]:
    """Starts ``python ...`` in a folder with a custom model."""
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "plain.py").write_text(MODULE)
    (tmp_path / "conf" / "model" / "plain.yaml").write_text(OPTION)

    def begin(*command: str, **environment: str) -> Process:
        path = [CHECKOUT, tmp_path]
        process: Process = start_python(*command, cwd=tmp_path, path=path, **environment)
        return process

    return begin


@pytest.fixture
def torchrun(start) -> Callable[..., Process]:
    """Starts a job in two processes of torchrun."""
    run = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    return lambda *args: start(*run, *COMMAND, *args)


@pytest.fixture
def in_processes(start, free_port) -> Callable[..., str]:
    """Runs a job in so many processes that have the environment of torchrun's; gives the output.

    Those of torchrun itself import everything anew.
    """

    def run(processes: int, *args: str, expect: int = 0) -> str:
        shared = {"TORCHELASTIC_RUN_ID": "test", "WORLD_SIZE": str(processes)}
        shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        started = [
            start(*COMMAND, *args, **shared, RANK=str(rank), LOCAL_RANK=str(rank))
            for rank in range(processes)
        ]
        output = "".join(process.communicate(timeout=300)[0] for process in started)
        others = [0] * (processes - 1)
        assert [process.returncode for process in started] == [expect, *others], output
        return output

    return run


def assert_same(client, one, two, tolerance: float = 1e-4) -> None:
    """The same losses, epoch by epoch, and the same cost."""
    prefix = "pretext/" if one.data.tags["ssl_rot.phase"] == "pretext" else ""
    for name in ("train_loss", "test_loss", "train_acc", "test_acc", "images_processed"):
        a, b = (
            [point.value for point in client.get_metric_history(run.info.run_id, prefix + name)]
            for run in (one, two)
        )
        assert len(a) > 1
        assert b == pytest.approx(a, rel=tolerance, abs=0.02 if name.endswith("acc") else 0)


@pytest.mark.slow
def test_two_processes_train_a_sweep_like_one(
    torchrun, in_processes, make_store, all_runs, tmp_path
):
    uri = make_store(tmp_path)
    client = MlflowClient(uri)
    grid = ("schedule.lr=0.05,1e30", "freeze=none,backbone", "+experiment=rotation")
    runs = {}
    for processes in (1, 2):
        store = (f"tracking.uri={uri}", f"tracking.experiment_name=of {processes}")
        sweep = ("--multirun", *JOB, *grid, *store, "pretext.reuse=false")
        if processes == 1:
            output = in_processes(1, *sweep, expect=1)
        else:
            process = torchrun(*sweep)
            output, _ = process.communicate(timeout=300)
            assert process.returncode == 1, output  # as without torchrun: two of four jobs fail
        assert output.count("is not finite at epoch 1") >= 2, output
        found = all_runs(uri)
        runs[processes] = {
            (run.data.tags["ssl_rot.phase"], *(run.data.params[k] for k in SWEPT)): run
            for run in found
            if run.data.tags["ssl_rot.phase"] != "sweep"
            and client.get_experiment(run.info.experiment_id).name == f"of {processes}"
        }
        assert len(runs[processes]) == 8  # one per phase and job
    assert runs[1].keys() == runs[2].keys()
    for key, run in runs[2].items():
        failed = key[0] == "downstream" and key[1] == "1e+30"
        assert run.info.status == runs[1][key].info.status == ("FAILED" if failed else "FINISHED")
        if not failed:
            assert_same(MlflowClient(uri), runs[1][key], run)
    folders = {path.name for path in (tmp_path / "multirun").glob("*/*/*") if path.is_dir()}
    assert folders == {"0", "1", "2", "3", ".workers"}
    assert not (tmp_path / "outputs").exists()


@pytest.mark.slow
def test_two_processes_start_from_the_weights_of_a_run(
    in_processes, make_store, all_runs, tmp_path
):
    uri = make_store(tmp_path)
    job = (*JOB, f"tracking.uri={uri}")
    in_processes(1, *job, "+experiment=rotation")
    (source,) = (run for run in all_runs(uri) if run.data.tags["ssl_rot.phase"] == "pretext")
    runs = {}
    for processes in (1, 2):
        start = (f"model.weights={source.info.run_id}", f"tracking.experiment_name=of {processes}")
        in_processes(processes, *job, "+experiment=supervised", *start)
        runs[processes] = max(all_runs(uri), key=lambda run: run.info.start_time)
    assert_same(MlflowClient(uri), runs[1], runs[2])


@pytest.mark.slow
def test_an_interrupted_run_is_resumed_from_its_checkpoint(
    torchrun, make_store, all_runs, tmp_path
):
    uri = make_store(tmp_path)
    job = (*JOB, "+experiment=supervised", f"tracking.uri={uri}", "schedule.epochs=3000")
    process = torchrun(*job)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("outputs/*/*/downstream/history.csv")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    (run,) = all_runs(uri)
    assert run.info.status == "KILLED", output
    (checkpoint,) = tmp_path.rglob("*.ckpt")
    epoch = int(checkpoint.name[5:10])
    # The end is far: only until it has continued.
    process = torchrun(*job, "resume=true")
    client = MlflowClient(uri)
    while len(client.get_metric_history(run.info.run_id, "train_loss")) <= epoch:
        assert time.monotonic() < deadline + 120
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    points = client.get_metric_history(run.info.run_id, "train_loss")
    assert [point.step for point in points] == list(range(1, len(points) + 1))
    assert len(all_runs(uri)) == 1


def of_part(part: int, parts: int, count: int = 37, *, shuffle: bool = True, **options) -> Batches:
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 1, 8, 8), dtype=torch.uint8, generator=draws)
    defaults = {"batch_size": 10, "augment": Augment(2, True)}
    return Batches(
        images, torch.arange(count), device="cpu", mean=[0.5], std=[0.25], seed=0, stream="x",
        shuffle=shuffle, part=(part, parts), **(defaults | options),
    )  # fmt: skip


@pytest.mark.parametrize("parts", [2, 3])
def test_the_parts_of_a_batch_add_up_to_the_batch(parts):
    whole = list(of_part(0, 1).epoch(3))
    split = zip(*(of_part(part, parts).epoch(3) for part in range(parts)), strict=True)
    for (inputs, targets), pieces in zip(whole, split, strict=True):
        assert torch.equal(torch.cat([piece[0] for piece in pieces]), inputs)
        assert torch.equal(torch.cat([piece[1] for piece in pieces]), targets)
        sizes = [len(piece[1]) for piece in pieces]
        assert max(sizes) - min(sizes) <= 1
    weights = zip(*(of_part(part, parts).weights for part in range(parts)), strict=True)
    for (_, targets), shares in zip(whole, weights, strict=True):
        assert sum(shares) == pytest.approx(parts)
        assert [round(share * len(targets) / parts) for share in shares] == [
            len(piece) for piece in targets.tensor_split(parts)
        ]


def test_every_image_is_evaluated_once_even_with_fewer_images_than_processes():
    seen = [
        target
        for part in range(4)
        for _, targets in of_part(part, 4, 12, shuffle=False, augment=None).epoch(0)
        for target in targets.tolist()
    ]
    assert sorted(seen) == list(range(12))


def test_a_last_batch_too_small_for_all_processes_is_merged_with_the_previous_one():
    assert of_part(0, 1, 23).sizes == [10, 10, 3]
    assert of_part(0, 2, 23).sizes == [10, 13]


@pytest.mark.parametrize(("count", "batch_size"), [(5, 10), (37, 4)])
def test_too_few_images_for_the_processes_are_refused(count, batch_size):
    with pytest.raises(ConfigError, match="3 processes need at least 6 images per batch"):
        of_part(0, 3, count, batch_size=batch_size)


def test_sync_batchnorm_on_the_cpu_is_refused(monkeypatch):
    assert resolve_compute("cpu", "fp32", sync_batchnorm=True).arithmetic == "fp32"  # no effect
    monkeypatch.setattr(distributed, "_group", Group(0, 2))
    with pytest.raises(ConfigError, match=r"sync_batchnorm=true needs GPUs.*device=cpu"):
        resolve_compute("cpu", "fp32", sync_batchnorm=True)


def test_sync_batchnorm_replaces_every_batchnorm_and_keeps_its_weights():
    options = {"large_stem": False, "bias": False, "shortcut_norm": True}
    plain, synced = (resnet(3, widths=[8, 16], blocks=[1, 1], **options) for _ in range(2))
    synced.load_state_dict(plain.state_dict())
    compute = Compute(torch.device("cpu"), "fp32", group=Group(0, 2), sync_batchnorm=True)
    compute.place(synced)
    kinds = Counter(type(module) for module in synced.modules())
    assert kinds[nn.SyncBatchNorm] == 6
    assert kinds[nn.BatchNorm2d] == 0
    for (name, value), (same, kept) in zip(
        plain.state_dict().items(), synced.state_dict().items(), strict=True
    ):
        assert name == same
        assert torch.equal(value, kept)


def test_the_arithmetic_of_runs_with_split_batchnorm_differs(monkeypatch):
    monkeypatch.setattr(distributed, "_group", Group(0, 2))
    assert resolve_compute("cpu", "fp32").arithmetic == "fp32, BatchNorm in 2 parts"


@pytest.mark.parametrize("pretext", ["simclr", "statistics"])
def test_a_task_of_whole_batches_is_refused_in_several_processes(compose, monkeypatch, pretext):
    config = validate(compose(f"pretext={pretext}"))
    assert load_training_context(config).pretext.name == pretext
    monkeypatch.setattr(distributed, "_group", Group(0, 2))
    with pytest.raises(ConfigError, match=f"pretext={pretext} cannot be trained by 2 processes"):
        load_training_context(config)


def test_processes_abandoned_in_a_phase_get_no_further_messages():
    group = Group(0, 2)
    with pytest.raises(MemoryError), group.training_phase():
        raise MemoryError
    with pytest.raises(LostProcesses, match="resume=true"):
        group.send("something")


def test_other_launchers_are_refused_under_torchrun(call_main, monkeypatch):
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(distributed, "_group", None)
    status, output = call_main("--multirun", "hydra/launcher=parallel", "+experiment=rotation")
    assert status == 2
    assert "hydra/launcher=parallel hands jobs to" in output


def test_several_tasks_a_job_are_refused(call_main):
    status, output = call_main(
        "--multirun", "hydra/launcher=slurm", "+hydra.launcher.tasks_per_node=4", "seed=0,1"
    )
    assert status == 2
    assert "tasks_per_node must be 1" in output
