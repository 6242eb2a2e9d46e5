"""The device and arithmetic of a run: torch.compile, and the profile of a training step."""

from __future__ import annotations

import gzip
import json
import shutil
from functools import partial

import pytest
import torch
from torch import nn

from ssl_rot.data import Batches
from ssl_rot.errors import CompileFailed
from ssl_rot.freeze import FreezeNothing
from ssl_rot.models import Classifier, StagedBackbone, linear_head
from ssl_rot.schedules import EarlyStop, Schedule
from ssl_rot.training.compute import Compute, resolve_compute
from ssl_rot.training.loop import fit
from ssl_rot.training.phase import Phase


def trained(compute: Compute) -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
    """History and weights of a small network after three epochs with a smaller last batch."""
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (40, 1, 8, 8), dtype=torch.uint8, generator=draws)
    labels = (images[:, 0, :4].sum((1, 2)) > images[:, 0, 4:].sum((1, 2))).long()
    torch.manual_seed(0)
    stage = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    model = Classifier(StagedBackbone({"stage": stage}, [4]), linear_head(4, 2))
    train, test = (
        Batches(
            images, labels, batch_size=16, device="cpu", mean=[0.5], std=[0.25], augment=None,
            seed=0, stream="downstream", shuffle=shuffle,
        )
        for shuffle in (True, False)
    )  # fmt: skip
    schedule = Schedule(3, 16, 0.1, partial(torch.optim.SGD, lr=0.1, momentum=0.9), EarlyStop())
    history = fit(
        Phase(
            "downstream", model, train, {"test": test}, nn.CrossEntropyLoss(), schedule,
            FreezeNothing(), seed=0,
        ),
        compute,
        log=lambda epoch, record: None,
    )  # fmt: skip
    return history, model.state_dict()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")
def test_a_compiled_network_trains_like_an_eager_one():
    eager, weights = trained(Compute(torch.device("cpu"), "fp32"))
    compiled, compiled_weights = trained(Compute(torch.device("cpu"), "fp32", compiled=True))
    for a, b in zip(eager, compiled, strict=True):
        for name in ("train_loss", "test_loss"):
            assert b[name] == pytest.approx(a[name], rel=1e-5)
        assert b["test_acc"] == a["test_acc"]
    assert weights.keys() == compiled_weights.keys()
    for name, value in weights.items():
        torch.testing.assert_close(compiled_weights[name], value, rtol=1e-4, atol=1e-6)


def test_the_arithmetic_of_compiled_runs_differs():
    assert resolve_compute("cpu", "fp32").arithmetic == "fp32"
    assert resolve_compute("cpu", "fp32", compiled=True).arithmetic == "fp32 compiled"


def test_a_missing_compiler_is_reported_in_one_message(run_job, tmp_path, monkeypatch):
    # An empty cache: what was compiled before needs no compiler.
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("/nowhere/c++",))
    message = r"compile=true does not work here: .*compiler(.|\n)*C\+\+"
    with pytest.raises(CompileFailed, match=message):
        run_job(tmp_path, "+experiment=supervised", "compile=true")


@torch.library.custom_op("ssl_rot_tests::relu", mutates_args=())
def mispredicted_relu(inputs: torch.Tensor) -> torch.Tensor:
    """The result has another memory layout than its fake kernel declares, as some gradients do."""
    return inputs.relu().contiguous(memory_format=torch.channels_last)


@torch.library.custom_op("ssl_rot_tests::failing", mutates_args=())
def failing(inputs: torch.Tensor) -> torch.Tensor:
    raise AssertionError("theirs")


@mispredicted_relu.register_fake
@failing.register_fake
def _(inputs):
    return torch.empty_like(inputs, memory_format=torch.contiguous_format)


def compiled_call(operator) -> None:
    with Compute(torch.device("cpu"), "fp32", compiled=True).compile_errors():
        torch.compile(lambda inputs: operator(inputs))(torch.ones(2, 3, 4, 4))


def test_a_failed_check_in_compiled_code_is_reported_in_one_message():
    message = "compile=true does not work here: .*stride.*; Error in op: .*relu"
    with pytest.raises(CompileFailed, match=message):
        compiled_call(mispredicted_relu)


def test_an_assertion_of_the_users_own_operator_stays_as_it_is():
    with pytest.raises(AssertionError, match="theirs"):
        compiled_call(failing)


def test_a_profile_shows_the_time_of_each_part_of_a_step(run_job, tmp_path):
    epochs = ("schedule.epochs=6", "pretext.schedule.epochs=10")
    ran = run_job(tmp_path, "+experiment=rotation", "profile=true", *epochs)
    for phase in ("pretext", "downstream"):
        table = ran.artifact(phase, "profile/table.txt").read_text()
        for part in ("ProfilerStep", "forward", "backward", "optimizer", "convolution"):
            assert part in table
            assert part in ran.output
        packed = ran.artifact(phase, "profile/trace.json.gz").read_bytes()
        events = json.loads(gzip.decompress(packed))["traceEvents"]
        steps = {e["name"] for e in events if str(e.get("name")).startswith("ProfilerStep")}
        assert len(steps) == 5


def test_too_few_steps_to_profile_are_reported(run_job, tmp_path, caplog):
    run_job(tmp_path, "+experiment=supervised", "profile=true", "schedule.epochs=1")
    assert "Too few steps to profile" in caplog.text
